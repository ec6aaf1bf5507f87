// The fields by which the live page asks for a command's arguments.

import test from 'ava';
import { z } from 'zod';
import { operationDocument } from '../../src/doors/openapi.ts';
import { argumentsIn, operationsIn } from '../../src/page/fields.ts';
import { CommandTable } from '../../src/server/commands.ts';

const input = z.object({
  size: z.coerce.number().int().min(1).max(9).describe('how many'),
  weight: z.number(),
  how: z.enum(['plain', 'fancy']),
  loud: z.boolean().optional(),
  name: z.string().default('nobody'),
});

test('each argument of a typed command has the field that suits its schema', (t) => {
  const commands = new CommandTable();
  commands.add('typed', { handler: () => '', args: input, mode: 'ro' });
  commands.add('untyped', () => '');
  const [typed, untyped] = operationsIn(operationDocument({ commands }, '') as never);
  t.deepEqual(untyped, { name: 'untyped', changes: true, fields: undefined });
  t.is(typed?.changes, false);
  const [size, weight, how, loud, name] = typed?.fields ?? [];
  t.like(size, { name: 'size', kind: 'number', required: true, min: 1, max: 9, step: 1, hint: 'how many' });
  t.like(weight, { kind: 'number', required: true, min: undefined, step: undefined });
  t.like(how, { kind: 'choice', required: true, choices: ['plain', 'fancy'] });
  t.like(loud, { kind: 'choice', required: false, choices: ['true', 'false'] });
  t.like(name, { kind: 'text', required: false, hint: '(nobody without it)' });
});

test('arguments of any other command are lines, and the line that is none is told', (t) => {
  t.deepEqual(argumentsIn('a=1\n\n b =x=y \nc='), { a: '1', b: 'x=y ', c: '' });
  for (const line of ['nothing', '=1'])
    t.throws(() => argumentsIn(`a=1\n${line}`), { message: `'${line}' is no argument: name=value` });
});
