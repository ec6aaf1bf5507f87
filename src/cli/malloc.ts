/**
 * glibc's malloc for a server that runs for long (SECURITY.md, Resident memory). It reads its settings as a process
 * starts, from the environment alone.
 */

const SETTINGS = {
  // Not one arena for every thread there ever was: each keeps the most that it has held.
  MALLOC_ARENA_MAX: '2',
  // Batches and contexts go back to the system as they are freed, and leave no holes.
  MALLOC_MMAP_THRESHOLD_: String(256 * 1024),
};

/** Whether somebody has set malloc up, be it ours. */
export const isMallocSet = (env: NodeJS.ProcessEnv): boolean =>
  env.GLIBC_TUNABLES !== undefined || Object.keys(env).some((name) => name.startsWith('MALLOC_'));

/** `env` with malloc set up for servers; `env` itself where that is done already, or does nothing. */
export function serverEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return process.platform !== 'linux' || isMallocSet(env) ? env : { ...env, ...SETTINGS };
}
