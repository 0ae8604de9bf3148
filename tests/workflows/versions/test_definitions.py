"""The book of definitions, and giving a type up in steps. D103 (fingerprint), B65."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from reactor import SenderError
from reactor.testing import OWNER, Rig
from tests.workflows.versions.deploys import BEAT_US, Beating, One, StateOne, Two, deploy
from workflows import ChildEnd, Handler, NoPayload, Payload, Status, Workflow
from workflows.definition import Definition
from workflows.versions.fingerprint import declared_by, differences, fingerprint_of


class More(Payload):
    """Another payload."""

    hp: int = 100
    kind: str = ""


class Signals(Beating, Handler[StateOne]):
    """Another signal under the same name."""

    signals = {**One.signals, "hurt": More}

    def on_hurt(self, w: Workflow[Any], payload: Any) -> None: ...


class Odd:
    """Something that msgspec has no schema for."""


class OddState(msgspec.Struct):
    """A state with it."""

    odd: Odd


class Strange(One, Handler[OddState]):
    """A type with that state."""

    name = "strange"


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A database with one workflow of version 1."""
    with Rig(deploy(One)) as rig:
        rig.start("npc", payload={"hp": 80})
        yield rig


def told(rig: Rig) -> list[str]:
    """What was logged of changed types."""
    return [text for _, _, text in rig.logs if "has changed" in text or "not registered any more" in text]


# -- fingerprints -----------------------------------------------------------------------------------


def test_fingerprints_are_of_what_is_declared() -> None:
    """D103: another class with the same declaration is the same; another field, signal or timer is not."""

    class Again(One):
        """Another docstring."""

    class Timers(One):
        timers = ("beat",)

    prints = [fingerprint_of(declared_by(Definition(kind))) for kind in (One, Again, Timers, Signals, Two)]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4
    assert all(len(each) == 16 for each in prints)


def test_differences_are_told_in_words() -> None:
    """What is new, gone or another is named by its place, and the list ends somewhere."""
    before, after = declared_by(Definition(One)), declared_by(Definition(Two))
    assert "state.hp_max is new" in differences(before, after)
    assert "state.hp_max is gone" in differences(after, before)
    assert differences(before, before) == []
    assert len(differences({str(n): 1 for n in range(90)}, {})) == 20


def test_a_state_that_cannot_be_described() -> None:
    """A type of the author's own, which has no schema, is told apart by what it is."""

    assert declared_by(Definition(Strange))["state"] == {"type": repr(OddState)}


# -- the table -----------------------------------------------------------------------------------------


def test_starts_and_reloads_write_the_book(rig: Rig) -> None:
    """D103: version, what can be read, fingerprint; differences are logged once."""
    row = rig.row("workflow_definition", "npc")
    assert (row.state_version, row.reads_from, row.reads_to, row.is_registered) == (1, 1, 1, True)
    first_seen = row.first_seen_at
    rig.advance(1_000)
    for _ in range(3):
        rig.crash()
        rig.reopen()
    assert told(rig) == []
    now = rig.row("workflow_definition", "npc")
    assert (now.fingerprint, now.first_seen_at, now.changed_at) == (row.fingerprint, first_seen, first_seen)
    assert now.last_seen_at > first_seen
    rig.reload(deploy(Two))
    rig.reload(deploy(Two))
    (line,) = told(rig)
    assert "its states were of version 1 and are of version 2" in line and "state.hp_max is new" in line
    row = rig.row("workflow_definition", "npc")
    assert (row.state_version, row.reads_from, row.reads_to) == (2, 1, 2)
    assert row.changed_at == rig.clock.now()


def test_types_that_are_gone_stay_in_the_book(rig: Rig) -> None:
    """Marked, until they are back."""
    rig.call("workflow_cancel", 1, "no longer wanted")
    rig.crash()
    rig.reopen(deploy())
    assert not rig.row("workflow_definition", "npc").is_registered
    assert told(rig) == ["workflow type npc is not registered any more"]
    rig.crash()
    rig.reopen(deploy(One))
    assert rig.row("workflow_definition", "npc").is_registered
    assert told(rig)[1] == "workflow type npc has changed: it is registered again"


# -- retired types ---------------------------------------------------------------------------------


class Parent(Handler[None]):
    """Starts an npc as its child when it is told to."""

    name = "parent"
    signals = {"go": NoPayload}

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None: ...

    def on_go(self, w: Workflow[None], payload: NoPayload) -> None:
        w.start_child("npc")

    def on_child_end(self, w: Workflow[None], child: ChildEnd) -> None:
        w.complete()


def refused(rig: Rig, *call: Any) -> SenderError:
    """The error of a call."""
    with pytest.raises(SenderError) as error:
        rig.call(*call)
    return error.value


@pytest.mark.parametrize("how", ["stay", "crash", "reload"])
def test_retire_drain_verify_drop(rig: Rig, how: str) -> None:
    """B65: no more starts, those that live go on; when none lives the code may go; also across a crash or a reload."""
    status = rig.call("workflow_type_retire", "npc", "use villagers")
    assert (status["live"], status["oldest_id"], status["may_be_dropped"]) == (1, 1, False)
    if how == "crash":
        rig.crash()
        rig.reopen()
    elif how == "reload":
        rig.reload(deploy(One))
    error = refused(rig, "workflow_start", "npc")
    assert error.code == "type_retired" and "use villagers" in error.message
    assert len(rig.rows("workflow")) == 1
    rig.advance(BEAT_US)
    rig.call("workflow_signal", 1, "leave")
    (status,) = rig.call("workflow_type_status", "npc")
    assert (status["live"], status["oldest_id"], status["may_be_dropped"]) == (0, None, True)
    assert rig.row("workflow", 1).status is Status.COMPLETED
    rig.reload(deploy())
    assert rig.call("workflow_type_status")[0]["is_registered"] is False


def test_restore(rig: Rig) -> None:
    """B65: undone, it is as if it had not been; both may be said twice."""
    rig.call("workflow_type_retire", "npc")
    first = rig.row("workflow_definition", "npc").retired_at
    rig.advance(5)
    rig.call("workflow_type_retire", "npc", "again")
    assert rig.row("workflow_definition", "npc").retired_at == first
    for _ in range(2):
        assert rig.call("workflow_type_restore", "npc")["retired_at"] is None
    assert rig.start("npc") == 2


def test_retiring_is_in_the_log_of_commands(rig: Rig) -> None:
    """D73, REQ-14: who, which type, why; also what was refused."""
    rig.call("workflow_type_retire", "npc", "use villagers")
    rig.call("workflow_type_restore", "npc")
    with pytest.raises(SenderError):
        rig.call("workflow_type_retire", "nobody")
    assert [
        (r.caller, r.verb, r.workflow_type, r.reason, r.code) for r in rig.rows("command_log") if "type" in r.verb
    ] == [
        (OWNER, "type_retire", "npc", "use villagers", None),
        (OWNER, "type_restore", "npc", None, None),
        (OWNER, "type_retire", "nobody", None, "unknown_type"),
    ]


def test_a_retirement_that_is_undone_is_none(rig: Rig) -> None:
    """The table decides, not what is remembered in memory."""

    def try_it(ctx: Any) -> None:
        rig.engine.program.reducers["workflow_type_retire"].function(ctx, "npc")
        raise SenderError("sender_error", "changed my mind")

    with pytest.raises(SenderError, match="changed my mind"):
        rig.run(try_it)
    assert rig.start("npc") == 2


def test_other_ways_to_start_are_refused_too(rig: Rig) -> None:
    """B65: a batch is refused whole, game code is told, and who starts a child bears what comes of it."""
    rig.reload(deploy(One, Parent))
    parent = rig.start("parent")
    rig.call("workflow_type_retire", "npc")
    assert refused(rig, "workflow_start_batch", [{"type": "parent"}, {"type": "npc"}]).code == "type_retired"
    with pytest.raises(SenderError, match="retired"):
        rig.run(lambda ctx: ctx.workflows.start("npc"))
    assert refused(rig, "workflow_signal", parent, "go").code == "type_retired"
    assert [row.workflow_type for row in rig.rows("workflow")] == ["npc", "parent"]


def test_types_nobody_knows(rig: Rig) -> None:
    """The sentence names those that there are."""
    for reducer in ("workflow_type_retire", "workflow_type_restore", "workflow_type_status"):
        error = refused(rig, reducer, "nonsense")
        assert error.code == "unknown_type" and "npc" in error.message
