"""The trace that a publish belongs to, handed on in its headers (W3C Trace Context)."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def with_trace_context(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """``headers`` with ``traceparent`` and ``tracestate`` of the span that is active now, if there is one.

    What the caller gave stays. A program that has not loaded OpenTelemetry has no span, and nothing is
    loaded for it. Only these two: baggage is the program's own, and may be meant for nobody else.
    """
    if "opentelemetry.trace" not in sys.modules:
        return headers
    context: dict[str, str] = {}
    propagator = import_module("opentelemetry.trace.propagation.tracecontext").TraceContextTextMapPropagator()
    propagator.inject(context)
    return {**context, **(headers or {})} if context else headers
