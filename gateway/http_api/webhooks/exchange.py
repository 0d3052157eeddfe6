"""One request to a hook and its answer: between Starlette, and the values that a ``Hook`` decides on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import Response

from gateway.http_api.webhooks import verdicts
from gateway.http_api.webhooks.answers import AnswerTemplate, BadAnswer
from gateway.http_api.webhooks.delivery import WebhookDelivery, headers_of
from gateway.http_api.webhooks.verdicts import Verification

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.auth.principal import Principal
    from gateway.http_api.webhooks.hook import Hook


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: its hook, what came, for whom it is published, and where it came from."""

    hook: Hook
    delivery: WebhookDelivery
    principal: Principal
    address: str


class DeliveryRefused(Exception):  # noqa: N818 - says what happened; it never leaves this room
    """A delivery that is not its sender's, or is a question that may not be answered."""

    def __init__(self, verdict: Verification) -> None:
        super().__init__(verdict.detail)
        self.verdict = verdict


def delivery_of(hook: Hook, request: Request, body: bytes) -> WebhookDelivery:
    """Return what ``hook`` is to judge: a request with the ``body`` that was read of it."""
    query = request.scope["query_string"].decode("latin-1")
    return WebhookDelivery(
        headers_of(request.headers.raw),
        body,
        method=request.method,
        url=_url(hook, request, query),
        query=query,
        reads_forms=hook.declaration.form == "json",
        form_field=hook.declaration.form_field,
    )


def _url(hook: Hook, request: Request, query: str) -> str:
    """The request's URL as its sender wrote it."""
    scope = request.scope
    base = hook.declaration.public_url
    if not base:
        host = request.headers.get("host", "")
        path = scope.get("raw_path") or scope["path"].encode()
        base = f"{scope.get('scheme', 'http')}://{host}{path.decode('latin-1').partition('?')[0]}"
    return f"{base}?{query}" if query else base


def configured_answer(arrival: Arrival) -> Response | None:
    """Return what a delivery's hook is told to answer, None where publishing answers.

    Raises:
        DeliveryRefused: the answer can't be made of the delivery.
        BadFrame: a value that it is told by is no text.
    """
    answer = arrival.hook.answer(arrival.delivery)
    return None if answer is None else rendered_answer(arrival, answer)


def rendered_answer(arrival: Arrival, answer: AnswerTemplate) -> Response:
    """Return one answer to a delivery.

    Raises:
        DeliveryRefused: it can't be made of the delivery.
        BadFrame: a value is no text.
    """
    try:
        rendered = answer.render(arrival.delivery, [each.encode() for each in arrival.hook.keys.secrets])
    except BadAnswer as exc:
        raise DeliveryRefused(Verification(verdicts.CHALLENGE, str(exc))) from None
    response = Response(rendered.body, rendered.status, dict(rendered.headers))
    if rendered.content_type is not None:
        response.headers["content-type"] = rendered.content_type
    return response
