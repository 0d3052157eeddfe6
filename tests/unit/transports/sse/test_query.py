"""Which positions of an event's id go to which subscription."""

from __future__ import annotations

from gateway.core.catchup.resume_point import ResumePoint
from gateway.core.messages.commands import START_NEW, Overflow, Position
from gateway.transports.sse.query import EventQuery

ORDERS, STOCK = Position("e1", 5), Position("e2", 7)


def query(*filters: str) -> EventQuery:
    point = ResumePoint()
    point.begin("any", {"orders": ORDERS, "stock": STOCK})
    return EventQuery(filters, START_NEW, Overflow.SPILL, resumes=True, point=point)


def test_each_filter_resumes_in_the_streams_that_it_meets() -> None:
    met = {"orders/#": ("orders",), "stock/#": ("stock",), "live/#": ()}
    asked = query(*met)
    assert asked.subscribe("orders/#", met).resume == {"orders": ORDERS}
    assert asked.subscribe("stock/#", met).resume == {"stock": STOCK}
    assert asked.subscribe("live/#", met).resume is None


def test_a_position_that_no_filter_meets_any_more_is_handed_on_to_be_told_of() -> None:
    met: dict[str, tuple[str, ...]] = {"orders/eu/#": (), "stock/#": ("stock",)}
    asked = query(*met)
    assert asked.subscribe("orders/eu/#", met).resume == {"orders": ORDERS}


def test_an_id_that_cannot_be_read_is_told_of_where_a_stream_is_met() -> None:
    asked = EventQuery(("a", "b"), START_NEW, Overflow.SPILL, resumes=True, point=None)
    met: dict[str, tuple[str, ...]] = {"a": ("orders",), "b": ()}
    assert asked.subscribe("a", met).resume
    assert asked.subscribe("b", met).resume is None
