/** The signal that a handler is given: what its listeners do wrong ends neither the process nor the lane. */

import { watchRejection } from '../wire/thrown.ts';

type Listener = (event: unknown) => unknown;
type Method = (this: AbortSignal, type: string, listener: unknown, options: unknown) => void;
type Failed = (error: unknown) => void;

/**
 * A new controller whose signal's listeners may throw: `failed` is told. By itself Node.js makes an uncaught exception of
 * that, and at the time when a request is cancelled nobody else could catch it.
 */
export function guardedController(failed: Failed): AbortController {
  const controller = new AbortController();
  const { signal } = controller;
  const { addEventListener, removeEventListener } = signal as unknown as Record<string, Method>;
  const guards = new WeakMap<object, Listener>();
  const guardOf = (listener: unknown): unknown => {
    if (!isListener(listener)) return listener;
    const guard = guards.get(listener) ?? guarded(listener, failed);
    guards.set(listener, guard);
    return guard;
  };
  const methods = {
    addEventListener: (type: string, listener: unknown, options: unknown) =>
      addEventListener.call(signal, type, guardOf(listener), options),
    removeEventListener: (type: string, listener: unknown, options: unknown) =>
      removeEventListener.call(signal, type, guardOf(listener), options),
  };
  for (const [name, value] of Object.entries(methods))
    Object.defineProperty(signal, name, { value, configurable: true, writable: true });
  return controller;
}

function isListener(listener: unknown): listener is object {
  return typeof listener === 'function' || (typeof listener === 'object' && listener !== null);
}

function guarded(listener: object, failed: Failed): Listener {
  return function (this: unknown, event) {
    try {
      const returned =
        typeof listener === 'function'
          ? listener.call(this, event)
          : (listener as { handleEvent: Listener }).handleEvent(event);
      watchRejection(returned, failed);
    } catch (error) {
      failed(error);
    }
  };
}
