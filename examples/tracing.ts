/**
 * OpenTelemetry: one trace from the client through the server to what its handler does. Run it in a folder with
 * `npm install millrace @opentelemetry/api @opentelemetry/sdk-trace-base @opentelemetry/context-async-hooks`.
 */

import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import { connect, createServer } from 'millrace';
import { traceCalls, traceRequests } from 'millrace/otel';

const exporter = new InMemorySpanExporter();
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
trace.setGlobalTracerProvider(
  new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }),
);

const server = createServer({
  tracing: traceRequests(),
  commands: {
    river: async function* () {
      yield 'wide';
      // A span of the handler's own: a child of the request's, in every step.
      trace.getTracer('example').startSpan('measure').end();
      yield ' and slow';
    },
  },
});
const client = await connect(await server.listen({ port: 0 }), { tracing: traceCalls() });
console.log(await client.call('river').text());
await client.close();
await server.close();

const spans = exporter.getFinishedSpans();
const nameOf = (id: string | undefined) => spans.find((span) => span.spanContext().spanId === id);
const shown = spans.map((span) => {
  const parent = nameOf(span.parentSpanContext?.spanId);
  return `${['', 'server ', 'client '][span.kind]}${span.name}${parent ? ` in ${['', 'server ', 'client '][parent.kind]}${parent.name}` : ''}`;
});
console.log(shown.sort().join('\n'));
console.log(new Set(spans.map((span) => span.spanContext().traceId)).size, 'trace');

// prints:
// wide and slow
// client river
// measure in server river
// server river in client river
// 1 trace
