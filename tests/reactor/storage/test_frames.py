"""``reactor.storage.frames``."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reactor.storage.frames import Splitter, ToWriter, frame


@given(st.lists(st.tuples(st.integers(0, 1 << 60), st.binary(max_size=300))), st.integers(1, 50))
def test_messages_survive_any_cutting(messages: list[tuple[int, bytes]], size: int) -> None:
    """However the stream is cut, the messages come out whole and in order."""
    stream = b"".join(frame(ToWriter.GROUP, seq, seq, payload) for seq, payload in messages)
    splitter = Splitter()
    found = [m for i in range(0, len(stream), size) for m in splitter.feed(stream[i : i + size])]
    assert found == [[0, seq, seq, payload] for seq, payload in messages]
    assert list(splitter.feed(b"")) == []
