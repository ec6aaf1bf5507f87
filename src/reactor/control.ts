/** Frames of a client that are no part of a command: its settings, cancel, credit, ping (protocol C2 to protocol C4). */

import { ProtocolError } from '../wire/errors.ts';
import { ErrorResponseFlag, type Frame, FrameType, PingFlag } from '../wire/frame.ts';
import type { Limits } from '../wire/limits.ts';
import {
  decodeCancel,
  decodeCredit,
  decodeDictionaryHeld,
  decodePing,
  decodeUtf8,
  type SenderSettings,
} from '../wire/payloads.ts';
import { takeSettings } from './announced.ts';
import { Rate } from './rate.ts';

/** The peer wants the request stopped (protocol C3). */
export interface CancelAction {
  readonly kind: 'cancel';
  readonly requestId: number;
}

export type ControlAction =
  | CancelAction
  | { readonly kind: 'settings'; readonly settings: SenderSettings }
  | { readonly kind: 'credit'; readonly requestId: number; readonly bytes: number }
  /** The client holds a dictionary from now on (protocol C9). */
  | { readonly kind: 'dictionary-held'; readonly id: string }
  | { readonly kind: 'ping' | 'pong'; readonly payload: Uint8Array };

export class ControlFrames {
  readonly #limits: Limits;
  readonly #now: () => number;
  readonly #pings: Rate;
  readonly #credits: Rate;
  readonly #cancels: Rate;
  #settingsSeen = false;

  /** `now`: milliseconds, by which rates are counted. */
  constructor(limits: Limits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
    this.#pings = new Rate(limits, 'maxPings', 'pings');
    this.#credits = new Rate(limits, 'maxCredits', 'credit frames');
    this.#cancels = new Rate(limits, 'maxCancels', 'cancel frames');
  }

  /**
   * What a frame asks for; undefined: it is none of these. `first`: it is the first one of the connection.
   * @throws ProtocolError when it is wrong, comes before the settings, or too often.
   */
  take(frame: Frame, payload: Uint8Array, first: boolean): ControlAction | undefined {
    const { requestId } = frame;
    switch (frame.type) {
      case FrameType.errorResponse:
        if (frame.flags !== ErrorResponseFlag.protocol) return undefined;
        throw new ProtocolError('peer-reported', `the client reports: ${decodeUtf8(payload)}`);
      case FrameType.senderSettings:
        if (!first) throw new ProtocolError('settings-not-first', 'sender-settings must be the first frame');
        this.#settingsSeen = true;
        return { kind: 'settings', settings: takeSettings(payload, this.#limits) };
      case FrameType.cancel:
        this.#count(frame, this.#cancels);
        decodeCancel(payload);
        return { kind: 'cancel', requestId };
      case FrameType.credit:
        this.#count(frame, this.#credits);
        return { kind: 'credit', requestId, bytes: decodeCredit(payload) };
      case FrameType.dictionaryHeld:
        this.#count(frame);
        return { kind: 'dictionary-held', id: decodeDictionaryHeld(payload) };
      case FrameType.ping:
        this.#count(frame, this.#pings);
        return {
          kind: (frame.flags & PingFlag.reply) === 0 ? 'ping' : 'pong',
          payload: decodePing(payload).slice(),
        };
      default:
        return undefined;
    }
  }

  #count(frame: Frame, rate?: Rate): void {
    if (!this.#settingsSeen) {
      throw new ProtocolError(
        'extension-without-settings',
        `frame type ${frame.type} before sender-settings`,
      );
    }
    rate?.count(this.#now());
  }
}
