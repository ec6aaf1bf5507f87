/** Payloads of the extensions' frame types, which only travel between peers that have announced them (protocol C). */

import { badPayload, checkSize, readU16, writeU16 } from './fields.ts';
import { DEFAULT_FRAME_SIZE } from './frame.ts';
import { cutUtf8, decodeUtf8, encodeUtf8 } from './utf8.ts';

/** Extensions that we speak (protocol C2), by their names in the table of protocol C. */
export const EXTENSIONS: readonly string[] = [
  'sender-settings',
  'progress',
  'cancel',
  'credit',
  'ping',
  'goaway',
  'error-codes',
  'error-data',
  'data-credit',
  'dictionary',
  'topics',
];

/** How far a command is (protocol C, type 7). */
export interface Progress {
  /** −1: finished. */
  readonly position: number;
  /** −1: unknown. */
  readonly total: number;
  readonly topic: string;
  readonly unit: string;
  readonly item: string;
}

/** Two i64 and three u16. */
const PROGRESS_HEADER_SIZE = 22;
/** Bytes that we send of each of a progress frame's strings. */
const MAX_PROGRESS_TEXT = 1024;

/**
 * A payload of at most `most` bytes, or 22: strings are cut at a character to a third of the room each, and to 1 024 bytes.
 * @throws RangeError when position or total is not a safe integer from −1 up.
 */
export function encodeProgress(progress: Progress, most = Number.POSITIVE_INFINITY): Uint8Array<ArrayBuffer> {
  checkCount('position', progress.position);
  checkCount('total', progress.total);
  const room = Math.min(MAX_PROGRESS_TEXT, Math.trunc(Math.max(most - PROGRESS_HEADER_SIZE, 0) / 3));
  const topic = cutUtf8(progress.topic, room);
  const unit = cutUtf8(progress.unit, room);
  const item = cutUtf8(progress.item, room);
  const payload = new Uint8Array(PROGRESS_HEADER_SIZE + topic.length + unit.length + item.length);
  const view = dataView(payload);
  view.setBigInt64(0, BigInt(progress.position), true);
  view.setBigInt64(8, BigInt(progress.total), true);
  writeU16(payload, 16, topic.length);
  writeU16(payload, 18, unit.length);
  writeU16(payload, 20, item.length);
  payload.set(topic, PROGRESS_HEADER_SIZE);
  payload.set(unit, PROGRESS_HEADER_SIZE + topic.length);
  payload.set(item, PROGRESS_HEADER_SIZE + topic.length + unit.length);
  return payload;
}

function checkCount(what: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < -1) {
    throw new RangeError(`progress ${what} ${value} is not a whole number from -1 up`);
  }
}

/** @throws ProtocolError `bad-payload` when lengths do not add up or a number is below −1 or beyond 2^53. */
export function decodeProgress(payload: Uint8Array): Progress {
  if (payload.length < PROGRESS_HEADER_SIZE) throw badPayload('progress payload is shorter than its header');
  const unitStart = PROGRESS_HEADER_SIZE + readU16(payload, 16);
  const itemStart = unitStart + readU16(payload, 18);
  const end = itemStart + readU16(payload, 20);
  if (end !== payload.length) {
    throw badPayload(`progress payload has ${payload.length} bytes, its lengths say ${end}`);
  }
  return {
    position: readCount(payload, 0),
    total: readCount(payload, 8),
    topic: decodeUtf8(payload.subarray(PROGRESS_HEADER_SIZE, unitStart)),
    unit: decodeUtf8(payload.subarray(unitStart, itemStart)),
    item: decodeUtf8(payload.subarray(itemStart, end)),
  };
}

function readCount(payload: Uint8Array, offset: number): number {
  const value = Number(dataView(payload).getBigInt64(offset, true));
  if (!Number.isSafeInteger(value) || value < -1) throw badPayload(`progress count ${value} is out of range`);
  return value;
}

/** What a peer says of itself in its first frame (protocol C2). A missing key means the default named there. */
export interface SenderSettings {
  /** Profiles that it can decode, best first; missing: identity only. */
  readonly contentEncodings?: readonly string[];
  /** Largest payload in bytes that it takes: 1 … 16 777 215. */
  readonly maxFrameSize?: number;
  /** Base-2 logarithm of the largest window in bytes that it takes, 10 … 23; missing: what the profile promises. Ours. */
  readonly maxWindowLog?: number;
  /** Requests that it lets be in flight. */
  readonly maxConcurrentRequests?: number;
  /** Bytes before encoding that we may send for each request without credit (protocol C4); missing: no limit. */
  readonly requestWindow?: number;
  /** The same for the whole connection. */
  readonly connectionWindow?: number;
  /** Names of frame types of part C that it takes. */
  readonly extensions?: readonly string[];
  /** Frames of one kind that it takes in a second, where that is less than by default (protocol B-limits). */
  readonly maxCancels?: number;
  readonly maxCredits?: number;
  readonly maxPings?: number;
  readonly maxStreamBegins?: number;
  /** A server's: what one command may have, where that is other than by default (protocol B-limits). */
  readonly maxCommandName?: number;
  readonly maxArguments?: number;
  readonly maxArgumentBytes?: number;
  /** A server's: what it may use. A client's: IDs of what it holds (protocol C9). At most 16. */
  readonly dictionaries?: readonly (string | DictionaryOffer)[];
}

/** What settings say of frames in a second. */
export const RATES = ['maxCancels', 'maxCredits', 'maxPings', 'maxStreamBegins'] as const;

/** What settings say of one command. */
export const COMMAND_LIMITS = ['maxCommandName', 'maxArguments', 'maxArgumentBytes'] as const;

/** A dictionary that a server may use (protocol C9). */
export interface DictionaryOffer {
  /** The first 16 bytes of the SHA-256 of its bytes, in 32 hexadecimal digits. */
  readonly id: string;
  /** How many bytes it has: 1 … 1 048 576. */
  readonly bytes: number;
}

/** Bytes of a dictionary, at most (protocol C9). */
export const MAX_DICTIONARY_BYTES = 1 << 20;
/** Dictionaries that one connection offers, or holds, at most (protocol C9). */
export const MAX_DICTIONARIES = 16;
/** Bytes of a dictionary's ID (protocol C9). */
export const DICTIONARY_ID_SIZE = 16;

/** Bytes of a sender-settings payload (protocol C2). */
export const MAX_SENDER_SETTINGS = 4096;

/** @throws RangeError when they take more than 4 096 bytes of JSON. */
export function encodeSenderSettings(settings: SenderSettings): Uint8Array<ArrayBuffer> {
  const payload = encodeUtf8(JSON.stringify(settings));
  checkSize('sender settings', payload.length, MAX_SENDER_SETTINGS);
  return payload;
}

/** @throws ProtocolError `bad-payload` when it is too long, no JSON object, or a known key has a wrong value. */
export function decodeSenderSettings(payload: Uint8Array): SenderSettings {
  const json = parseSettings(payload);
  const settings: { -readonly [key in keyof SenderSettings]: SenderSettings[key] } = {};
  if (json.contentEncodings !== undefined) settings.contentEncodings = nameList(json, 'contentEncodings');
  if (json.maxFrameSize !== undefined) settings.maxFrameSize = count(json, 'maxFrameSize', 1, 0xff_ffff);
  if (json.maxWindowLog !== undefined) settings.maxWindowLog = count(json, 'maxWindowLog', 10, 23);
  if (json.maxConcurrentRequests !== undefined) {
    settings.maxConcurrentRequests = count(json, 'maxConcurrentRequests', 0, Number.MAX_SAFE_INTEGER);
  }
  if (json.requestWindow !== undefined) {
    settings.requestWindow = count(json, 'requestWindow', 0, Number.MAX_SAFE_INTEGER);
  }
  if (json.connectionWindow !== undefined) {
    settings.connectionWindow = count(json, 'connectionWindow', 0, Number.MAX_SAFE_INTEGER);
  }
  if (json.extensions !== undefined) settings.extensions = nameList(json, 'extensions');
  for (const limit of [...RATES, ...COMMAND_LIMITS])
    if (json[limit] !== undefined) settings[limit] = count(json, limit, 1, Number.MAX_SAFE_INTEGER);
  if (json.dictionaries !== undefined) settings.dictionaries = dictionaryList(json.dictionaries);
  return settings;
}

/** The JSON object's own values by key; nothing is inherited, so a `__proto__` key cannot smuggle one in. */
function parseSettings(payload: Uint8Array): Record<string, unknown> {
  if (payload.length > MAX_SENDER_SETTINGS) {
    throw badPayload(`sender-settings payload of ${payload.length} bytes is over ${MAX_SENDER_SETTINGS}`);
  }
  let value: unknown;
  try {
    value = JSON.parse(strictDecoder.decode(payload));
  } catch {
    throw badPayload('sender-settings payload is not JSON in UTF-8');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw badPayload('sender-settings payload is not a JSON object');
  }
  return Object.assign(Object.create(null), value);
}

const strictDecoder = new TextDecoder('utf-8', { fatal: true });

function nameList(json: Record<string, unknown>, key: string): string[] {
  const value = json[key];
  if (!Array.isArray(value) || !value.every((name) => typeof name === 'string')) {
    throw badPayload(`sender-settings: ${key} is not a list of strings`);
  }
  return value;
}

function dictionaryList(value: unknown): (string | DictionaryOffer)[] {
  if (!Array.isArray(value) || value.length > MAX_DICTIONARIES)
    throw badPayload(`sender-settings: dictionaries is not a list of at most ${MAX_DICTIONARIES}`);
  return value.map((each) => (typeof each === 'string' ? checkedId(each) : dictionaryOffer(each)));
}

function dictionaryOffer(value: unknown): DictionaryOffer {
  if (typeof value !== 'object' || value === null)
    throw badPayload('sender-settings: dictionaries has what is no dictionary');
  const json: Record<string, unknown> = Object.assign(Object.create(null), value);
  return { id: checkedId(json.id), bytes: count(json, 'bytes', 1, MAX_DICTIONARY_BYTES) };
}

function checkedId(id: unknown): string {
  if (typeof id === 'string' && /^[0-9a-f]{32}$/.test(id)) return id;
  throw badPayload("sender-settings: a dictionary's ID is not 32 hexadecimal digits");
}

/** @throws RangeError when the ID is not 32 hexadecimal digits. */
export function encodeDictionaryHeld(id: string): Uint8Array<ArrayBuffer> {
  if (!/^[0-9a-f]{32}$/.test(id)) throw new RangeError(`a dictionary's ID is not ${id}`);
  return Uint8Array.from({ length: DICTIONARY_ID_SIZE }, (_, i) =>
    Number.parseInt(id.slice(2 * i, 2 * i + 2), 16),
  );
}

/** The ID of a dictionary that the client holds (protocol C9). @throws ProtocolError `bad-payload` when it is not 16 bytes. */
export function decodeDictionaryHeld(payload: Uint8Array): string {
  if (payload.length !== DICTIONARY_ID_SIZE)
    throw badPayload(`dictionary-held payload has ${payload.length} bytes, not ${DICTIONARY_ID_SIZE}`);
  return [...payload].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function count(json: Record<string, unknown>, key: string, min: number, max: number): number {
  const value = json[key];
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
    throw badPayload(`sender-settings: ${key} is not a whole number from ${min} to ${max}`);
  }
  return value;
}

/** @throws ProtocolError `bad-payload` when a cancel frame has a payload (protocol C3). */
export function decodeCancel(payload: Uint8Array): void {
  if (payload.length > 0) throw badPayload(`cancel payload of ${payload.length} bytes is not empty`);
}

/** Most bytes that one credit frame adds to a window (protocol C4). */
const MAX_CREDIT = 0xffff_ffff;

/** @throws RangeError when `bytes` is not a whole number from 0 to 2^32 − 1. */
export function encodeCredit(bytes: number): Uint8Array<ArrayBuffer> {
  checkSize('credit', bytes, MAX_CREDIT);
  const payload = new Uint8Array(4);
  dataView(payload).setUint32(0, bytes, true);
  return payload;
}

/**
 * Bytes that a credit frame adds to a window: 0 … 2^32 − 1 (protocol C4).
 * @throws ProtocolError `bad-payload` when the payload is not 4 bytes.
 */
export function decodeCredit(payload: Uint8Array): number {
  if (payload.length !== 4) throw badPayload(`credit payload has ${payload.length} bytes, not 4`);
  return readU16(payload, 0) + readU16(payload, 2) * 0x1_0000;
}

/** Bytes of a ping payload; the reply carries the same (protocol C). */
export const PING_SIZE = 8;

/** @throws ProtocolError `bad-payload` when the payload is not 8 bytes; returns them. */
export function decodePing(payload: Uint8Array): Uint8Array {
  if (payload.length !== PING_SIZE)
    throw badPayload(`ping payload has ${payload.length} bytes, not ${PING_SIZE}`);
  return payload;
}

/** The start of a drain (protocol C5). */
export interface Goaway {
  /** Requests above this ID will not be answered: 0 … 65 535. */
  readonly lastRequestId: number;
  /** For people. */
  readonly reason: string;
}

/**
 * The reason is cut at a character to fit a frame of 32 768 bytes.
 * @throws RangeError when the ID does not fit a u16.
 */
export function encodeGoaway(lastRequestId: number, reason: string): Uint8Array<ArrayBuffer> {
  checkSize('last request ID', lastRequestId, 0xffff);
  const text = cutUtf8(reason, DEFAULT_FRAME_SIZE - 2);
  const payload = new Uint8Array(2 + text.length);
  writeU16(payload, 0, lastRequestId);
  payload.set(text, 2);
  return payload;
}

/** @throws ProtocolError `bad-payload` when the payload is shorter than 2 bytes. */
export function decodeGoaway(payload: Uint8Array): Goaway {
  if (payload.length < 2) throw badPayload(`goaway payload has ${payload.length} bytes, fewer than 2`);
  return { lastRequestId: readU16(payload, 0), reason: decodeUtf8(payload.subarray(2)) };
}

function dataView(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
