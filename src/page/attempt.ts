/** "Try a command": a form made of what the server says that its commands take, and what one has answered. */

import type { Pool } from '../client/pool.ts';
import type { CommandError } from '../wire/errors.ts';
import { joined } from '../wire/joined.ts';
import { argumentsIn, type Field, type Operation, operationsIn } from './fields.ts';
import { element, setText } from './panels.ts';
import { bytes, milliseconds } from './show.ts';

/** Bytes of an answer that are shown. */
const SHOWN = 64 * 1024;
const DEADLINE_MS = 60_000;
const LINES = 'arguments';

export class Attempt {
  readonly #pool: Pool<string>;
  readonly #authorization: () => string | undefined;
  readonly #form = element<HTMLFormElement>('try');
  readonly #select = element<HTMLSelectElement>('try-command');
  readonly #fields = element('try-fields');
  readonly #run = element<HTMLButtonElement>('try-run');
  readonly #stop = element<HTMLButtonElement>('try-stop');
  readonly #outcome = element('try-outcome');
  readonly #output = element('try-output');
  #operations: Operation[] = [];
  #running: AbortController | undefined;

  constructor(pool: Pool<string>, authorization: () => string | undefined) {
    this.#pool = pool;
    this.#authorization = authorization;
    this.#select.addEventListener('change', () => this.#ask());
    this.#stop.addEventListener('click', () => this.#running?.abort(new Error('stopped')));
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#call();
    });
  }

  /** Learns what commands there are. */
  async load(): Promise<void> {
    const authorization = this.#authorization();
    try {
      const answer = await fetch('rpc', { headers: authorization === undefined ? {} : { authorization } });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      this.#offer(operationsIn(await answer.json()));
    } catch (error) {
      setText(this.#outcome, `The commands cannot be had: ${(error as Error).message}.`);
    }
  }

  #offer(operations: Operation[]): void {
    this.#operations = operations;
    const chosen = this.#select.value;
    this.#select.replaceChildren(
      ...operations.map(({ name, changes }) => {
        const option = new Option(changes ? `${name} (may change state)` : name, name);
        option.disabled = changes;
        return option;
      }),
    );
    const first =
      operations.find(({ name, changes }) => !changes && name === chosen) ??
      operations.find(({ changes }) => !changes);
    this.#select.value = first?.name ?? '';
    this.#run.disabled = first === undefined;
    setText(this.#outcome, '');
    this.#ask();
  }

  get #chosen(): Operation | undefined {
    return this.#operations.find(({ name }) => name === this.#select.value);
  }

  /** Shows the fields of the command that is chosen. */
  #ask(): void {
    const { fields } = this.#chosen ?? { fields: [] };
    const inputs = fields?.map(inputOf) ?? [linesInput()];
    this.#fields.replaceChildren(...inputs);
  }

  #arguments(fields: readonly Field[] | undefined): Record<string, string> {
    const form = new FormData(this.#form);
    if (fields === undefined) return argumentsIn(String(form.get(LINES) ?? ''));
    const given = fields.map(({ name }) => [name, String(form.get(`argument ${name}`) ?? '')] as const);
    return Object.fromEntries(given.filter(([, value]) => value !== ''));
  }

  async #call(): Promise<void> {
    const operation = this.#chosen;
    if (operation === undefined || operation.changes || this.#running !== undefined) return;
    const running = new AbortController();
    this.#busy(running);
    const shown = new Shown(this.#output);
    const beganMs = performance.now();
    let told = 'Well';
    try {
      const authorization = this.#authorization();
      const response = this.#pool.call(operation.name, {
        args: this.#arguments(operation.fields),
        signal: running.signal,
        deadlineMs: DEADLINE_MS,
        onText: (text: string) => shown.add(new TextEncoder().encode(text)),
        ...(authorization && { authorization }),
      });
      for await (const piece of response) shown.add(piece);
    } catch (error) {
      const { code, message } = error as CommandError;
      told = `Failed${code === undefined ? '' : `, ${code}`}: ${message}`;
    }
    shown.end();
    const took = milliseconds(performance.now() - beganMs);
    const cut = shown.length > SHOWN ? `, of which the first ${bytes(SHOWN)} are shown` : '';
    setText(this.#outcome, `${told}. ${bytes(shown.length)} in ${took}${cut}.`);
    this.#busy(undefined);
  }

  #busy(running: AbortController | undefined): void {
    this.#running = running;
    this.#run.disabled = running !== undefined;
    this.#stop.disabled = running === undefined;
    if (running !== undefined) setText(this.#outcome, 'Running');
  }
}

/** The beginning of an answer, as text where it is such. */
class Shown {
  readonly #place: HTMLElement;
  readonly #pieces: Uint8Array<ArrayBuffer>[] = [];
  length = 0;

  constructor(place: HTMLElement) {
    this.#place = place;
    place.hidden = true;
    place.textContent = '';
  }

  add(piece: Uint8Array): void {
    const room = SHOWN - this.length;
    if (room > 0) this.#pieces.push(piece.slice(0, room));
    this.length += piece.length;
  }

  end(): void {
    const all = joined(this.#pieces);
    this.#place.hidden = all.length === 0;
    this.#place.textContent = textOf(all);
  }
}

function textOf(bytes: Uint8Array): string {
  try {
    // A character that is cut at the end is no reason.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
  } catch {
    const lines: string[] = [];
    for (let at = 0; at < bytes.length; at += 16) {
      const hex = [...bytes.subarray(at, at + 16)].map((byte) => byte.toString(16).padStart(2, '0'));
      lines.push(`${at.toString(16).padStart(6, '0')}  ${hex.join(' ')}`);
    }
    return lines.join('\n');
  }
}

function inputOf(field: Field, index: number): HTMLElement {
  const { name, required, hint } = field;
  const input = field.kind === 'choice' ? choiceOf(field) : plainOf(field);
  input.name = `argument ${name}`;
  input.required = required;
  return labelled(input, `try-argument-${index}`, required ? name : `${name} (may be left out)`, hint);
}

function choiceOf({ choices, required }: Field): HTMLSelectElement {
  const select = document.createElement('select');
  const all = required ? choices : ['', ...choices];
  select.append(...all.map((choice) => new Option(choice, choice)));
  return select;
}

function plainOf({ kind, min, max, step }: Field): HTMLInputElement {
  const input = document.createElement('input');
  input.type = kind;
  input.autocomplete = 'off';
  if (kind !== 'number') return input;
  input.step = step === undefined ? 'any' : String(step);
  if (min !== undefined) input.min = String(min);
  if (max !== undefined) input.max = String(max);
  return input;
}

/** For a command that does not say what it takes. */
function linesInput(): HTMLElement {
  const input = document.createElement('textarea');
  input.name = LINES;
  input.rows = 3;
  input.spellcheck = false;
  return labelled(input, 'try-arguments', 'Arguments', 'One on each line: name=value');
}

function labelled(
  input: HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement,
  id: string,
  text: string,
  hint: string,
): HTMLElement {
  const field = document.createElement('div');
  field.className = 'field';
  const label = document.createElement('label');
  label.htmlFor = id;
  label.textContent = text;
  input.id = id;
  field.append(label, input);
  if (hint !== '') {
    const small = document.createElement('small');
    small.id = `${id}-hint`;
    small.textContent = hint;
    input.setAttribute('aria-describedby', small.id);
    field.append(small);
  }
  return field;
}
