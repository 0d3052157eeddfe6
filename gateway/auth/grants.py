"""What a principal may do: filters to subscribe and publish to, groups to consume from, administration.

Nothing is allowed unless a grant allows it. Publishing needs a grant that *matches* the topic, subscribing
one that *covers* the whole filter: grants that cover it only together do not count, or taking one away would
have to cut a subscription in two. A grant to consume is a filter over ``stream/group``: ``orders/billing``
is one group, ``orders/+`` all groups of a stream.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, Literal, TypeAlias

from gateway.core.topics.grammar import covers, matches, parse_filter
from gateway.errors import BadFilter

if TYPE_CHECKING:
    from collections.abc import Iterable

Action: TypeAlias = Literal["subscribe", "publish", "consume"]
"""What somebody may do, with a filter, a topic, or a ``stream/group``."""

SUBJECT: Final = "{sub}"
"""Stands for the subject in a grant: ``users/{sub}/#``."""

# Every connection may have grants of its own, so these bound memory too: to about 20 KB. Longer topics are
# matched each time.
_REMEMBERED_TOPICS: Final = 64
_LONGEST_REMEMBERED: Final = 128
_SPECIAL: Final = frozenset("/+#\0")


@dataclass(frozen=True, slots=True)
class Grants:
    """The filters one principal may use; they are parsed ones, with no ``{sub}`` left.

    Attributes:
        subscribe: each covers filters that may be subscribed to, and streams' topics that may be read.
        publish: each matches topics that may be published to.
        consume: each matches a ``stream/group`` that may be consumed from.
        admin: whether everything else under ``/v1`` is allowed.
        asks: whether ``ask`` asks anybody at all.
    """

    asks: ClassVar[bool] = False
    subscribe: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    consume: tuple[str, ...] = ()
    admin: bool = False
    _answers: dict[str, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def for_subject(cls, templates: Grants, subject: str | None) -> Grants:
        """Return ``templates`` with ``{sub}`` replaced by ``subject``.

        A grant that names ``{sub}`` is void, so it allows nothing, where the subject is missing, empty, holds
        ``/``, ``+``, ``#`` or NUL, or would begin a filter with ``$``: it must not grow beyond its level.
        """
        return cls(
            subscribe=_replaced(templates.subscribe, subject),
            publish=_replaced(templates.publish, subject),
            consume=_replaced(templates.consume, subject),
            admin=templates.admin,
        )

    def may_publish(self, topic: str) -> bool:
        """Whether a grant matches ``topic``, which is a parsed one; answers are remembered, within bounds."""
        answer = self._answers.get(topic)
        if answer is None:
            answer = any(matches(grant, topic) for grant in self.publish)
            if len(topic) <= _LONGEST_REMEMBERED:
                if len(self._answers) >= _REMEMBERED_TOPICS:
                    self._answers.clear()
                self._answers[topic] = answer
        return answer

    def may_subscribe(self, topic_filter: str) -> bool:
        """Whether one grant covers all of ``topic_filter``, which is a parsed one."""
        for grant in self.subscribe:  # noqa: SIM110 - any() costs twice as much, and every subscription asks
            if covers(grant, topic_filter):
                return True
        return False

    def ask(self, action: Action, name: str) -> asyncio.Future[bool] | None:  # noqa: ARG002 - see below
        """Ask somebody else about what no grant allows; None where there is nobody, or the answer is known.

        Once the future is done the answer counts: the same question to ``may_…`` is answered by it. It is
        shared: whoever awaits it shields it. It fails with ``Unavailable`` where there was no answer.
        """
        return None

    async def when_known(self, action: Action, name: str) -> None:
        """Return once ``may_…`` knows about ``name``: a topic, a filter, or ``stream/group``.

        Raises:
            Unavailable: there was no answer.
        """
        while (asked := self.ask(action, name)) is not None:
            await asyncio.shield(asked)
            # Done, it may still be to be remembered, which is the loop's next turn.
            await asyncio.sleep(0)

    def may_consume(self, stream: str, group: str) -> bool:
        """Whether a grant matches ``stream/group``; names that are no single levels are never granted."""
        if not stream or not group or not _SPECIAL.isdisjoint(stream + group):
            return False
        return any(matches(grant, f"{stream}/{group}") for grant in self.consume)


class _Everything(Grants):
    """Allows all without looking: what publishing costs without authentication is one call."""

    __slots__ = ()

    def may_publish(self, topic: str) -> bool:  # noqa: ARG002 - without looking
        return True

    def may_subscribe(self, topic_filter: str) -> bool:  # noqa: ARG002 - without looking
        return True

    def may_consume(self, stream: str, group: str) -> bool:  # noqa: ARG002 - without looking
        return True


EVERYTHING: Final[Grants] = _Everything(subscribe=("#",), publish=("#",), consume=("#",), admin=True)
"""Everything, the gateway's own topics included: authentication mode ``none``."""

NOTHING: Final = Grants()


def parse_grant(text: str) -> str:
    """Return ``text``, now known to be a filter once ``{sub}`` is replaced.

    Raises:
        BadFilter: it breaks the grammar or a limit of topic filters.
    """
    parse_filter(text.replace(SUBJECT, "s"))
    return text


def parse_consume_grant(text: str) -> str:
    """Return ``text``, now known to be a filter over ``stream/group``.

    Raises:
        BadFilter: it breaks the grammar of topic filters, or can match no stream and group.
    """
    parse_grant(text)
    levels = text.split("/")
    if text != "#" and (len(levels) != 2 or "" in levels or levels[0] == "#"):
        raise BadFilter("a grant to consume is written as stream/group; either may be '+', the group '#'")
    return text


def _replaced(templates: Iterable[str], subject: str | None) -> tuple[str, ...]:
    grants = [_with_subject(template, subject) if SUBJECT in template else template for template in templates]
    return tuple([grant for grant in grants if grant is not None])


def _with_subject(template: str, subject: str | None) -> str | None:
    """The filter that ``template`` is for ``subject``, or None if it is void."""
    if not subject or not _SPECIAL.isdisjoint(subject):
        return None
    if subject.startswith("$") and template.startswith(SUBJECT):
        return None
    try:
        return parse_filter(template.replace(SUBJECT, subject))
    except BadFilter:
        return None
