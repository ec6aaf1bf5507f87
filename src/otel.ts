/**
 * Spans of OpenTelemetry for calls and requests, by its API alone (`npm install @opentelemetry/api`): without an SDK in the
 * program nothing is recorded. A client's span travels to the server as `:traceparent` (protocol C6).
 */

import {
  context,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import type { ClientTracing, ServerTracing } from './options/tracing.ts';

export type {
  CallTrace,
  ClientTracing,
  RequestTrace,
  ServerTracing,
  TracedRequest,
} from './options/tracing.ts';

const NAME = 'millrace';
const OK = 'ok';

/** The option `tracing` of `connect` and of pools: a span of kind CLIENT for every call. */
export function traceCalls(tracer: Tracer = trace.getTracer(NAME)): ClientTracing {
  return {
    call: (command) => {
      const attributes = { 'rpc.system': NAME, 'rpc.method': command };
      const span = tracer.startSpan(command, { kind: SpanKind.CLIENT, attributes });
      return { traceparent: traceparentOf(span.spanContext()), end: (code) => end(span, code) };
    },
  };
}

/** The option `tracing` of `createServer`: a span of kind SERVER for every request, which its handler runs in. */
export function traceRequests(tracer: Tracer = trace.getTracer(NAME)): ServerTracing {
  return {
    request: ({ command, requestId, remote, traceparent }) => {
      const attributes = {
        'rpc.system': NAME,
        'rpc.method': command,
        'network.peer.address': remote,
        'millrace.request_id': requestId,
      };
      const parent = spanContextOf(traceparent);
      const from = parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent);
      const span = tracer.startSpan(command, { kind: SpanKind.SERVER, attributes }, from);
      const active = trace.setSpan(from, span);
      return {
        run: (work) => context.with(active, work),
        end: ({ code, bytes, wireBytes }) => {
          span.setAttributes({ 'millrace.bytes': bytes, 'millrace.wire_bytes': wireBytes });
          end(span, code);
        },
      };
    },
  };
}

function end(span: Span, code: string): void {
  span.setAttribute('millrace.code', code);
  if (code !== OK) span.setStatus({ code: SpanStatusCode.ERROR, message: code });
  span.end();
}

/** As W3C Trace Context has it, version 00. */
function traceparentOf(span: SpanContext): string | undefined {
  if (!isSpanContextValid(span)) return undefined;
  return `00-${span.traceId}-${span.spanId}-${(span.traceFlags & 0xff).toString(16).padStart(2, '0')}`;
}

/** Undefined for what is none; a peer may have sent anything. */
function spanContextOf(traceparent: string | undefined): SpanContext | undefined {
  const [, traceId, spanId, flags] =
    /^00-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})$/.exec(traceparent ?? '') ?? [];
  if (traceId === undefined) return undefined;
  const isSampled = (Number.parseInt(flags, 16) & TraceFlags.SAMPLED) !== 0;
  const span = {
    traceId,
    spanId,
    traceFlags: isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE,
    isRemote: true,
  };
  return isSpanContextValid(span) ? span : undefined;
}
