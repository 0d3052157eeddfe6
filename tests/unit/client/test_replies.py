from __future__ import annotations

from gateway.client.errors import ConnectionLost, refusal
from gateway.client.read_gate import ReadGate
from gateway.client.replies import Answer, Replies
from gateway.core.messages.events import Failure, Gap, Pong, Published
from gateway.errors import BadTopic, GatewayError


def test_each_reply_finds_its_command() -> None:
    replies, answers = Replies(ReadGate()), list[Answer]()
    first, second = replies.expect(answers.append), replies.expect(answers.append)
    assert replies.settle(Pong(ref=second))
    assert replies.settle(Published("x", ref=first))
    assert answers == [Pong(ref=second), Published("x", ref=first)]
    assert not replies.settle(Pong(ref=first))


def test_a_refusal_arrives_as_the_error_of_its_code() -> None:
    replies, answers = Replies(ReadGate()), list[Answer]()
    ref = replies.expect(answers.append)
    assert replies.settle(Failure("bad_topic", "no", ref=ref))
    assert isinstance(answers[0], BadTopic)
    assert str(answers[0]) == "no"
    unknown = refusal(Failure("from_the_future", "why"))
    assert type(unknown) is GatewayError
    assert str(unknown) == "from_the_future: why"


def test_what_answers_nothing_is_left_to_others() -> None:
    replies = Replies(ReadGate())
    replies.expect(lambda _: None)
    for event in (Gap("bus"), Pong(), Pong(ref="1"), Failure("internal", "")):
        assert not replies.settle(event)


def test_a_loss_fails_every_command_and_lets_the_valve_go() -> None:
    valve, answers = ReadGate(), list[Answer]()
    replies = Replies(valve)
    valve.hold("full")
    replies.forget(replies.expect(answers.append))
    replies.expect(answers.append)
    assert valve.is_open
    lost = ConnectionLost("gone")
    replies.fail(lost)
    replies.fail(lost)
    assert answers == [lost]
    assert not valve.is_open
    assert len(replies) == 0
