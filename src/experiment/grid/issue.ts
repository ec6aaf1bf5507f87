/** What is wrong with something that a schema refuses, in one line. */

import type { z } from 'zod';

export function firstIssue({ issues }: z.ZodError): string {
  const { path, message } = issues[0];
  return path.length > 0 ? `${path.join('.')}: ${message}` : message;
}
