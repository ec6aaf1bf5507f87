/** What the first process and those that serve beside each other say to each other. */

import type { Address } from '../index.ts';

/** From the first one. `id`: of the question; its answer has the same. */
export interface Question {
  readonly millrace: 'question';
  readonly id: number;
  readonly ask: 'metrics' | 'health' | 'reload' | 'stop';
}

/** From one that serves. */
export type Told =
  | { readonly millrace: 'answer'; readonly id: number; readonly answer: unknown }
  | { readonly millrace: 'ready'; readonly address: Address; readonly lanes: number }
  | { readonly millrace: 'failed'; readonly message: string; readonly isMisuse: boolean };

export function isQuestion(message: unknown): message is Question {
  return (message as Question | null)?.millrace === 'question';
}

export function isTold(message: unknown): message is Told {
  const kind = (message as Told | null)?.millrace;
  return kind === 'answer' || kind === 'ready' || kind === 'failed';
}
