"""Payloads in all the forms clients send them."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import orjson
import pytest

from reactor import Refusal, SenderError
from workflows import NoPayload, Payload
from workflows.payload import PayloadReader


class Stack(Payload):
    count: int
    source: str = ""


JSON = {"count": 3, "source": "ä"}
TEXT = orjson.dumps(JSON).decode()


@pytest.mark.parametrize(
    "given",
    [
        JSON,
        TEXT,
        f"  {TEXT}\n",
        TEXT.encode(),
        list(TEXT.encode()),
        base64.b64encode(TEXT.encode()).decode(),
        [3, "ä"],
        '[3, "ä"]',
        Stack(3, "ä"),
    ],
)
def test_every_form_gives_the_same_struct(given: Any) -> None:
    """A25: value, text, bytes, byte values, base64, by position, or the struct itself."""
    assert PayloadReader(Stack, "stack").read(given, 1_000) == Stack(3, "ä")


@pytest.mark.parametrize("given", [None, {}, [], "", "{}", "[]", "null", b"", [123, 125], [91, 93], "e30="])
def test_empty_in_every_form(given: Any) -> None:
    """A24: the reference clients send ``"[]"`` for nothing."""
    assert PayloadReader(NoPayload, "dispel").read(given, 1_000) == NoPayload()


def test_a_single_value_is_the_first_field() -> None:
    """A64: ``Stack(3)`` arrives as 3."""
    reader = PayloadReader(Stack, "stack")
    assert reader.read(3, 1_000).count == 3
    assert reader.read("3", 1_000).count == 3


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"count": "x"}, r"Expected `int`, got `str` - at `\$.count`"),
        ({}, "missing required field `count`"),
        ({"count": 1, "colour": 2}, "unknown field `colour`"),
        ([1, "a", 2], r"3 values are too many; it takes \(count, source\)"),
        ("{", "not valid JSON"),
        ("[", "not valid JSON"),
        ("hello", "not valid JSON"),
        (True, "Expected `int`, got `bool`"),
        (b"\xff\xfe", "not valid JSON"),
        ({1, 2}, "not JSON"),
        ({"count": 1 << 70}, "not JSON"),
    ],
)
def test_what_does_not_fit_is_the_senders_mistake(given: Any, reason: str) -> None:
    """A64: wrong shapes are refused with the reason and the place."""
    with pytest.raises(SenderError, match=reason) as caught:
        PayloadReader(Stack, "signal stack of buff").read(given, 1_000)
    assert caught.value.code == "bad_arguments"
    assert caught.value.message.startswith("signal stack of buff: payload")


def test_exactly_the_cap_passes() -> None:
    """B52: cap and cap + 1, for values and for text."""
    reader = PayloadReader(Stack, "stack")
    fits = {"count": 1, "source": "x" * 100}
    cap = len(orjson.dumps(fits))
    assert reader.read(fits, cap) == Stack(1, "x" * 100)
    assert reader.read(orjson.dumps(fits).decode(), cap) == Stack(1, "x" * 100)
    for given in (fits, orjson.dumps(fits).decode()):
        with pytest.raises(SenderError) as caught:
            reader.read(given, cap - 1)
        assert caught.value.code == "payload_too_large"
        assert caught.value.details == {"bytes": cap, "bytes_max": cap - 1}


class Loose(msgspec.Struct):
    count: int


@pytest.mark.parametrize(
    ("kind", "reason"), [(int, r"make it a class X\(Payload\)"), (Loose, "derive it from workflows.Payload")]
)
def test_kinds_that_cannot_be_payloads_are_refused(kind: Any, reason: str) -> None:
    """A wrong declaration is refused when declared, with the reason."""
    with pytest.raises(Refusal, match=reason):
        PayloadReader(kind, "stack")


@pytest.mark.parametrize(
    "given",
    [
        base64.b64encode(b'{"count":3,"source":"\xff"}').decode(),
        b'{"count":3,"source":"\xff"}',
        "[" * 400 + "]" * 400,
    ],
)
def test_what_no_decoder_takes_is_the_senders_mistake(given: Any) -> None:
    """A64: bytes that are no text, and nesting that cannot be written again, are refused like any other."""
    with pytest.raises(SenderError) as refused:
        PayloadReader(Stack, "stack").read(given, 10_000)
    assert refused.value.code == "bad_arguments"
