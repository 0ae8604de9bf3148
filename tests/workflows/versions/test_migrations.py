"""``workflows.versions.migrations``: what may be declared, and how a stored state comes to the code's version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from reactor.errors import Refusal
from workflows.versions.migrations import Migrations, VersionError

Data = dict[str, Any]


class Now(msgspec.Struct):
    """The state of the code under test."""

    hp: int
    path: list[str] = []


def note(word: str) -> Callable[[Data], Data]:
    """A migration that says that it ran."""

    def run(state: Data) -> Data:
        return {**state, "path": [*state.get("path", []), word]}

    return run


def migrations(version: Any = 1, up: Any = None, down: Any = None, *, stateless: bool = False) -> Migrations:
    """The versions of one type."""
    decode = None if stateless else msgspec.json.Decoder(Now).decode
    return Migrations("npc", version, up or {}, down or {}, decode, "workflow type npc")


UP = {1: note("1>2"), 2: note("2>3")}
DOWN = {4: note("4>3"), 5: note("5>4")}


@pytest.mark.parametrize(
    ("version", "up", "down", "part"),
    [
        (0, None, None, "from 1 to"),
        (True, None, None, "whole number"),
        ("2", None, None, "whole number"),
        (1 << 32, None, None, "whole number"),
        (3, {1: note("")}, None, "leads from version 1 to 2, and state_version is 3"),
        (3, {1: note(""), 3: note("")}, None, "version 2 is missing"),
        (3, {2: note(""), 3: note("")}, None, "leads from version 3 to 4"),
        (2, {1: "no function"}, None, "is not a function"),
        (2, {"1": note("")}, None, "'1' is no version"),
        (2, {0: note(""), 1: note("")}, None, "0 is no version"),
        (2, [note("")], None, "functions by version"),
        (2, None, {4: note("")}, "leads from version 4 to 3"),
        (2, None, {1: note("")}, "leads from version 1 to 0"),
        (2, None, {3: note(""), 5: note("")}, "version 4 is missing"),
    ],
)
def test_what_cannot_be_declared(version: Any, up: Any, down: Any, part: str) -> None:
    """REQ-12: gaps and wrong keys are refused when the type is registered, with the place."""
    with pytest.raises(Refusal) as refusal:
        migrations(version, up, down)
    assert refusal.value.code == "bad_declaration"
    assert part in refusal.value.message and "workflow type npc" in refusal.value.message


def test_chains_up_and_down() -> None:
    """REQ-12: one function per version, in order, to the version of the code."""
    made = migrations(3, UP, DOWN)
    assert (made.lowest, made.highest) == (1, 5)
    assert made.bring(1, '{"hp":7}') == Now(7, ["1>2", "2>3"])
    assert made.bring(2, '{"hp":7}') == Now(7, ["2>3"])
    assert made.bring(4, '{"hp":7}') == Now(7, ["4>3"])
    assert made.bring(5, '{"hp":7}') == Now(7, ["5>4", "4>3"])


def test_a_chain_may_begin_late() -> None:
    """Versions that are long gone need no function; what the new version would lead down to is declared with it."""
    made = migrations(3, {2: note("2>3")}, {2: note("2>1"), 3: note("3>2")})
    assert (made.lowest, made.highest) == (2, 3)
    assert made.reaches(2) and not made.reaches(1) and not made.reaches(4)


@pytest.mark.parametrize(
    ("made", "stored", "text", "part"),
    [
        (migrations(3, {2: note("")}), 1, "{}", "it has no migrations[1]"),
        (migrations(3), 9, "{}", "this code reads versions 3 to 3: it has no downgrades[9]"),
        (migrations(2, {1: lambda s: s["gone"]}), 1, "{}", "migrations[1] (version 1 to 2) of npc raised KeyError"),
        (migrations(1, None, {2: lambda s: 1 / 0}), 2, "{}", "downgrades[2] (version 2 to 1) of npc raised ZeroDiv"),
        (migrations(2, {1: lambda s: None}), 1, "{}", "returned None, not a dict"),
        (migrations(2, {1: lambda s: {"hp": "x"}}), 1, "{}", "what came out cannot be read"),
        (migrations(2, {1: lambda s: {"hp": object()}}), 1, "{}", "what came out cannot be read"),
        (migrations(2, {1: note("")}), 1, "{]", "cannot be read"),
    ],
)
def test_what_cannot_be_brought(made: Migrations, stored: int, text: str, part: str) -> None:
    """REQ-12, B64: the message names the type, the versions and what went wrong."""
    with pytest.raises(VersionError) as error:
        made.bring(stored, text)
    assert part in str(error.value) and "npc" in str(error.value)


def test_types_without_state() -> None:
    """A type may get a state in a later version, or lose it."""
    assert migrations(2, {1: lambda s: {**s, "hp": 1}}).bring(1, "null") == Now(1)
    assert migrations(2, {1: lambda s: s}, stateless=True).bring(1, '{"hp":1}') is None


def test_downgrades_of_the_code_that_is_replaced() -> None:
    """REQ-12 rollback: older code takes over what newer code knows about its own versions, without a gap."""
    old = migrations(3)
    old.inherit(migrations(5, None, {4: note("4>3"), 5: note("5>4")}))
    assert old.bring(5, '{"hp":7}') == Now(7, ["5>4", "4>3"])
    gap = migrations(3)
    gap.inherit(migrations(5, None, {5: note("5>4")}))
    assert not gap.reaches(5)
    own = migrations(3, None, {4: note("mine")})
    own.inherit(migrations(4, None, {4: note("theirs")}))
    assert own.bring(4, '{"hp":7}').path == ["mine"]
    twice = migrations(2)
    twice.inherit(old)
    assert not twice.reaches(5)
