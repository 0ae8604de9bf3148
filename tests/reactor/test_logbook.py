"""``reactor.logbook``: the newest lines, for whoever looks and whoever follows."""

from __future__ import annotations

import io
from typing import Any

import pytest

from reactor.errors import InvariantError
from reactor.logbook import Logbook, shown


def test_lines_are_kept_and_bounded() -> None:
    """The newest, oldest first."""
    book = Logbook(3)
    for i in range(5):
        book.write(i, "info", "x", f"line {i}")
    assert [line["message"] for line in book.tail(10)] == ["line 2", "line 3", "line 4"]
    assert [line["message"] for line in book.tail(1)] == ["line 4"]
    assert book.tail(0) == book.tail(-1) == []
    with pytest.raises(InvariantError):
        book.write(0, "loud", "x", "y")


def test_followers() -> None:
    """They hear what comes until they stop, also when one stops meanwhile."""
    book = Logbook(3)
    heard: list[Any] = []
    stop = book.follow(heard.append)
    book.write(1, "info", "x", "a")
    stop()
    stop()
    book.write(2, "info", "x", "b")
    assert [line["message"] for line in heard] == ["a"]


def test_people_read_a_line() -> None:
    """On the stream as it comes."""
    stream = io.StringIO()
    book = Logbook(3, stream)
    book.write(1_700_000_000_123_000, "error", "spawn", "it broke")
    assert stream.getvalue() == "22:13:20.123 error   spawn: it broke\n"
    assert shown(book.tail(1)[0]) in stream.getvalue()
