// Package trace follows a request through klamm and beyond: in over HTTP, through a
// record's headers, out to a target (gateway-policies.md 5.8).
//
// A Context names a span as W3C Trace Context does; context.go reads and writes it.
// A Tracer, configured by the standard OTEL_* variables (settings.go), makes Spans;
// when they end, an exporter sends them in batches over OTLP/HTTP (export.go),
// written in protobuf by hand (encode.go): the messages are few and do not change.
// A nil Tracer and a nil Span do nothing and cost nothing, so nobody has to ask
// whether there is tracing.
package trace
