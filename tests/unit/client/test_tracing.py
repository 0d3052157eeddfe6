from __future__ import annotations

import subprocess
import sys

from opentelemetry import baggage, context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from gateway.client.tracing import with_trace_context

STATE = TraceState([("a", "b")])
SPAN = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1), trace_state=STATE)
PARENT = f"00-{0xABC:032x}-{0xDEF:016x}-01"


def test_the_span_that_is_active_goes_along_and_baggage_does_not() -> None:
    token = context.attach(baggage.set_baggage("password", "secret"))
    try:
        with trace.use_span(NonRecordingSpan(SPAN)):
            assert with_trace_context({"x": "1"}) == {"traceparent": PARENT, "tracestate": "a=b", "x": "1"}
            assert with_trace_context(None) == {"traceparent": PARENT, "tracestate": "a=b"}
    finally:
        context.detach(token)


def test_what_the_caller_gave_stays() -> None:
    with trace.use_span(NonRecordingSpan(SPAN)):
        headers = with_trace_context({"traceparent": "mine"})
    assert headers is not None
    assert headers["traceparent"] == "mine"


def test_without_a_span_headers_stay_what_they_were() -> None:
    assert with_trace_context(None) is None
    headers = {"x": "1"}
    assert with_trace_context(headers) is headers


def test_a_program_without_opentelemetry_loads_none() -> None:
    program = (
        "import sys; from gateway.client.tracing import with_trace_context as do;"
        "assert do({'x': '1'}) == {'x': '1'}; print([m for m in sys.modules if m.startswith('opentel')])"
    )
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "[]"
