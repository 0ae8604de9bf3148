"""Who may go through each door of the engine: one table, in which every reducer, report and verb has its place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reactor.testing import OWNER, RigClient
from tests.workflows.doors import (
    DOORS,
    INTERNAL,
    ONE,
    OWNERS,
    PUBLIC,
    STARTERS,
    VICTIM,
    WORKERS,
    Peopled,
    people_about,
)
from tests.workflows.fuzzworld import STARTER, STRANGER, make_engine
from tests.workflows.hostile import call, code, stored
from workflows.groups.verbs import VERBS

GROUP_VERBS: dict[str, str] = {
    "signal": PUBLIC, "cancel": STARTERS, "tag": STARTERS, "terminate": OWNERS, "suspend": OWNERS, "resume": OWNERS,
    "retry": OWNERS, "skip": OWNERS, "delete": OWNERS,
}  # fmt: skip
"""The same for what a group is told; of the workflows of others those in the middle only refuse."""


def test_every_door_has_a_class() -> None:
    """A new reducer, report or verb is one of: for all, for who started it, for workers, for the owner."""
    engine = make_engine()
    assert set(DOORS) == {*engine.reducers, *engine.reports}
    assert set(GROUP_VERBS) == set(VERBS)
    for name, (who, _) in DOORS.items():
        access = (engine.reducers.get(name) or engine.reports[name]).access
        assert (who == INTERNAL) == (access == "internal"), name
        assert who == OWNERS or access != "owner", name


@pytest.fixture(scope="module")
def peopled() -> Iterator[Peopled]:
    """Nobody in it has done any harm yet."""
    with people_about() as people:
        yield people


def ask_and_undo(people: Peopled, client: RigClient, reducer: str, args: list[Any]) -> tuple[str, bool]:
    """The code of the answer, and whether any row but those of the log of commands has changed."""
    before = stored(people.rig, "command_log")
    answer = code(call(client, reducer, args))
    return answer, stored(people.rig, "command_log") != before


REFUSED = [(name, args) for name, (who, args) in DOORS.items() if who != PUBLIC]


@pytest.mark.parametrize(("reducer", "args"), REFUSED, ids=[name for name, _ in REFUSED])
def test_a_stranger_is_refused(peopled: Peopled, reducer: str, args: list[Any]) -> None:
    """D70, REQ-13: what is for the owner, the starter or workers is forbidden to all others, and changes nothing."""
    answer, changed = ask_and_undo(peopled, peopled.stranger, reducer, args)
    assert answer == "forbidden"
    assert not changed


def test_nobody_calls_what_the_reactor_calls(peopled: Peopled) -> None:
    """The reducers of timers are refused to the owner, too."""
    for name in (name for name, (who, _) in DOORS.items() if who == INTERNAL):
        assert ask_and_undo(peopled, peopled.owner, name, [{}]) == ("forbidden", False), name


@pytest.mark.parametrize("verb", GROUP_VERBS)
def test_a_group_is_no_way_round(peopled: Peopled, verb: str) -> None:
    """REQ-13: a verb for groups asks for each target what the verb for one workflow asks."""
    payload = {"add": ["hot"]} if verb == "tag" else 1
    if GROUP_VERBS[verb] == OWNERS:
        assert code(call(peopled.stranger, "workflow_group_preview", [verb, {"ids": [VICTIM]}])) == "forbidden"
    asked = [verb, {"ids": [VICTIM]}, None, None, "so", "add", payload]
    before = stored(peopled.rig, "command_log")
    answer = call(peopled.stranger, "workflow_group", asked)
    if GROUP_VERBS[verb] == OWNERS:
        assert code(answer) == "forbidden"
    elif GROUP_VERBS[verb] == STARTERS:
        assert [each["code"] for each in answer["ok"]["results"]] == ["forbidden"]
    if GROUP_VERBS[verb] != PUBLIC:
        assert stored(peopled.rig, "command_log") == before


ROUNDABOUT = [
    ("workflow_start_with", ["duel", 9, None, [1], {"on_conflict": "replace"}]),
    ("workflow_start_with", ["duel", 9, None, [1], {"on_conflict": "refresh"}]),
    ("workflow_start_with", ["counter", 9, None, None, {"exclusive": "mine"}]),
    ("workflow_start_with", ["counter", 9, None, None, {"id": 4_000}]),
    ("workflow_start_with", ["counter", 9, None, None, {"concurrency_key": "mine"}]),
    ("workflow_start_batch", [[{"type": "duel", "entity_id": 9, "options": {"on_conflict": "replace"}}]]),
    ("workflow_signal_or_start", ["counter", "add", 1, None, 88, None, None, "refuse", False, {"id": 4_000}]),
    ("workflow_group", ["cancel", {"ids": [VICTIM]}, None, None, "so", None, None, "problems", True]),
    ("schedule_create", ["mine", ONE, {"command": "workflow_terminate", "arguments": [VICTIM, "so"]}]),
]  # fmt: skip


@pytest.mark.parametrize(("reducer", "args"), ROUNDABOUT)
def test_there_is_no_way_round(peopled: Peopled, reducer: str, args: list[Any]) -> None:
    """D70, B41: what a stranger may not do he cannot have done by a start, a group or a schedule."""
    assert ask_and_undo(peopled, peopled.stranger, reducer, args) == ("forbidden", False)


@pytest.mark.parametrize(
    ("who", "allowed"),
    [
        (OWNER, {PUBLIC, STARTERS, OWNERS, WORKERS}),
        (STARTER, {PUBLIC, STARTERS, WORKERS}),
        (STRANGER, {PUBLIC}),
    ],
)
def test_who_may_is_let_through(who: str, allowed: set[str]) -> None:
    """D70: no door is shut to the owner, nor those of starters and workers to them, nor public ones to anybody."""
    with people_about() as people:
        client = {OWNER: people.owner, STARTER: people.starter, STRANGER: people.stranger}[who]
        for name, (kind, args) in DOORS.items():
            if kind in allowed:
                assert code(call(client, name, args)) not in ("forbidden", "bad_arguments", "internal"), name
