import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.start import decode_start
from gateway.core.messages.commands import Start, StartKind
from gateway.errors import BadCommand

LARGEST = 2**53 - 1


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("new", Start(StartKind.NEW)),
        ("earliest", Start(StartKind.EARLIEST)),
        ("snapshot", Start(StartKind.SNAPSHOT)),
        ("1", Start(StartKind.OFFSET, 1)),
        (str(LARGEST), Start(StartKind.OFFSET, LARGEST)),
        ("time:0", Start(StartKind.TIME, 0)),
        ("time:1700000000000", Start(StartKind.TIME, 1_700_000_000_000)),
        ("last:5", Start(StartKind.LAST, 5)),
        ("last_per_topic:1000", Start(StartKind.LAST_PER_TOPIC, 1000)),
        ('{"offset": 7}', Start(StartKind.OFFSET, 7)),
        ('{"time": 7}', Start(StartKind.TIME, 7)),
        ('{"last": 7}', Start(StartKind.LAST, 7)),
    ],
)
def test_every_form_is_read(text: str, start: Start) -> None:
    assert decode_start(text) == start


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "-1", "+1", "1.0", " 1", "\u0661", "last:0", "last:", "time:-1", "time:x", "offset:1",
        "NEW", "latest", str(LARGEST + 1), "9" * 17, "{}", "{", '{"offset":0}', '{"offset":1,"last":1}',
        '{"from":1}', '"new"', '{"offset":"\ud800"}', "{" * 5000,
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadCommand, match="from"):
        decode_start(text)


@given(st.text() | st.text(alphabet='{}":0123456789ofsetlaim '))
def test_nothing_but_bad_command_is_raised(text: str) -> None:
    try:
        start = decode_start(text)
    except BadCommand:
        return
    assert isinstance(start, Start)
