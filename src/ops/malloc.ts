/**
 * glibc's malloc for a server that runs for long (SECURITY.md, Resident memory). It reads its settings as a process
 * starts, from the environment alone.
 */

const SETTINGS = {
  // Not one arena for every thread there ever was: each keeps the most that it has held.
  MALLOC_ARENA_MAX: '2',
  // What is read, held, batched and kept for contexts goes back to the system as it is freed, and leaves no holes.
  MALLOC_MMAP_THRESHOLD_: String(32 * 1024),
};

/** How V8's heap is kept small after a storm: it is slow to give back what new objects once had, in MiB for each half. */
export const HEAP_FLAGS: readonly string[] = ['--max-semi-space-size=8'];

/** Whether somebody has set malloc up, be it ours. */
export const isMallocSet = (env: NodeJS.ProcessEnv): boolean =>
  env.GLIBC_TUNABLES !== undefined || Object.keys(env).some((name) => name.startsWith('MALLOC_'));

/** `env` with malloc set up for servers; `env` itself where that is done already, or does nothing. */
export function serverEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return process.platform !== 'linux' || isMallocSet(env) ? env : { ...env, ...SETTINGS };
}
