/** The options of a topic, and of a name for one. */

import { checkOptions, count, given, integer, nested, type Rules } from '../options/rules.ts';
import { MAX_TOPIC_NAME } from '../wire/topic-records.ts';
import { encodeUtf8 } from '../wire/utf8.ts';

/** What a topic keeps for who resumes, and when its context begins afresh (protocol C10). */
export interface TopicOptions {
  /** Messages that are kept for subscribers that resume; default 0. */
  history?: number;
  /** Bytes of those, 256 for each message included; default 16 MiB. */
  historyBytes?: number;
  /**
   * When the shared context begins afresh although nobody waits for it: after so many messages, or bytes before encoding;
   * default 1024 and 8 MiB. Where somebody waits to join, it begins afresh when waiting has cost as much as that will.
   */
  epoch?: { messages?: number; bytes?: number };
}

const RULES: Rules<TopicOptions> = {
  history: integer(0),
  historyBytes: integer(0),
  epoch: nested({ messages: count, bytes: count }),
};

const DEFAULT_EPOCH = { messages: 1024, bytes: 8 << 20 };

export interface CheckedTopicOptions {
  readonly history: number;
  readonly historyBytes: number;
  readonly epoch: { readonly messages: number; readonly bytes: number };
}

/** The options with their defaults. @throws TypeError that names the option which is wrong. */
export function checkTopicOptions(options: TopicOptions): CheckedTopicOptions {
  checkOptions(options, RULES, 'topic');
  const { history = 0, historyBytes = 16 << 20, epoch = {} } = options;
  return { history, historyBytes, epoch: { ...DEFAULT_EPOCH, ...given(epoch) } };
}

/** Whether it is a string of 1 to 255 bytes in UTF-8. */
export function isTopicName(name: unknown): name is string {
  if (typeof name !== 'string' || name === '' || !name.isWellFormed()) return false;
  return encodeUtf8(name).length <= MAX_TOPIC_NAME;
}

/** @throws TypeError when it is none. */
export function checkTopicName(name: unknown): asserts name is string {
  if (!isTopicName(name))
    throw new TypeError(`a topic's name is a string of 1 to ${MAX_TOPIC_NAME} bytes in UTF-8`);
}
