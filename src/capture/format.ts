/**
 * The capture file: what `millrace serve --record FILE` writes and `millrace experiment FILE` reads.
 *
 * UTF-8 text, one JSON object per line. The first line is the header: `{"millraceCapture":1, "startedAt":
 * "2026-01-31T12:00:00.000Z", "note": …}`. Every other line is one response that went out whole:
 *
 * | key | what it is |
 * |---|---|
 * | `at` | milliseconds from the start of the recording to the end of the request's arguments |
 * | `connection` | number of the connection, 0 the first |
 * | `command` | the command's name |
 * | `key` | its affinity key, where its definition has one |
 * | `args` | bytes of each argument by name; never a value |
 * | `pieces` | `[after, length]` of each frame: milliseconds after `at`, bytes before encoding |
 * | `wire` | bytes that its frames took, headers included |
 * | `body` | the response in base64 |
 *
 * Private by nature: bodies are in clear. So the file is for its owner only (mode 0600), `:sensitive` requests and
 * sensitive commands are left out, argument values are left out, and recording stops at a size.
 */

export const CAPTURE_VERSION = 1;

/** A line of a capture. */
export interface CaptureRecord {
  at: number;
  connection: number;
  command: string;
  key?: string;
  args: Record<string, number>;
  pieces: [after: number, length: number][];
  wire: number;
  body: string;
}

/** The header line, without its end. */
export function captureHeader(startedAt: Date): string {
  return JSON.stringify({
    millraceCapture: CAPTURE_VERSION,
    startedAt: startedAt.toISOString(),
    note: 'Responses in clear: treat this file like the data that the server serves.',
  });
}

/** Whether a file that begins with this line is a capture of any version. */
export function isCaptureHeader(line: string): boolean {
  return line.startsWith('{"millraceCapture":');
}
