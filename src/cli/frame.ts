/** `millrace frame`: frames as text and as bytes, for people who debug the wire. */

import { type Command, Option } from 'commander';
import { encodeFrame, type Frame, MAX_PAYLOAD_LENGTH } from '../wire/frame.ts';
import { FrameTextError, formatFrame, parseFrameText } from '../wire/human.ts';
import { Splitter } from '../wire/splitter.ts';
import type { Io } from './io.ts';
import { UsageError } from './outcome.ts';

const TEXT = `
A frame as text is: REQUEST-ID STREAM-ID STREAM-FLAGS TYPE FLAGS PAYLOAD
Each flag or type is a number or a name, flags join with |, the payload takes \\n, \\x00, \\\\ and the like.
`;

interface RawOption {
  raw?: boolean;
}

export function addFrame(program: Command, io: Io): void {
  const frame = program.command('frame').description('write and read single frames').helpCommand(false);
  frame
    .command('encode')
    .description('print frames given as text as hexadecimal bytes')
    .argument('[text...]', 'one frame each; without any, one per line of standard input')
    .option('--raw', 'print the bytes themselves')
    .addHelpText(
      'after',
      `${TEXT}
Examples:
  millrace frame encode "1 1 stream-begin command-name eos capabilities"
  millrace frame encode --raw "1 1 stream-begin command-name eos capabilities" | nc 127.0.0.1 7711`,
    )
    .action((texts: string[], options: RawOption) => encode(texts, options, io));
  frame
    .command('decode')
    .description('print frames given as bytes as one line of text each')
    .argument('[hex...]', 'hexadecimal bytes; without any, standard input, hexadecimal or raw')
    .addOption(new Option('--raw', 'standard input is raw even if it looks hexadecimal'))
    .addHelpText(
      'after',
      `${TEXT}
Examples:
  millrace frame decode "0c 00 00 01 00 01 01 11 63 61 70 61 62 69 6c 69 74 69 65 73"
  nc 127.0.0.1 7711 < request.bin | millrace frame decode`,
    )
    .action((hex: string[], options: RawOption) => decode(hex, options, io));
}

async function encode(texts: string[], { raw = false }: RawOption, io: Io): Promise<void> {
  const lines = texts.length > 0 ? texts : (await readInput(io)).toString().split('\n').filter(Boolean);
  // All are read before any is printed: half an answer would pass for a whole one.
  const frames = lines.map((line) => encodeFrame(parse(line)));
  for (const frame of frames) {
    if (raw) io.stdout.write(frame);
    else io.print(Buffer.from(frame).toString('hex'));
  }
}

function parse(line: string): Frame {
  try {
    return parseFrameText(line);
  } catch (error) {
    throw error instanceof FrameTextError ? new UsageError(error.message) : error;
  }
}

async function decode(hex: string[], { raw = false }: RawOption, io: Io): Promise<void> {
  const bytes = hex.length > 0 ? parseHex(hex.join('')) : fromInput(await readInput(io), raw);
  const splitter = new Splitter({
    maxPayload: MAX_PAYLOAD_LENGTH,
    onFrame: (frame) => io.print(formatFrame(frame)),
  });
  splitter.push(bytes);
  splitter.finish();
}

/** Raw frames hold bytes that no hexadecimal text has, unless one is longer than 3 MB. */
function fromInput(input: Buffer, isRaw: boolean): Uint8Array {
  const text = input.toString('latin1');
  return isRaw || !/^[0-9a-f\s]*$/i.test(text) ? input : parseHex(text);
}

function parseHex(text: string): Uint8Array {
  const digits = text.replace(/\s+/g, '');
  if (!/^([0-9a-f]{2})*$/i.test(digits)) {
    throw new UsageError('these are not hexadecimal bytes: two digits each are needed');
  }
  return Buffer.from(digits, 'hex');
}

async function readInput({ stdin }: Io): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stdin) chunks.push(chunk);
  return Buffer.concat(chunks);
}
