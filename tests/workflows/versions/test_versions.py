"""States of other versions: migrated when their workflow takes a step, or parked alone. REQ-12, B64."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor import SenderError
from reactor.testing import Rig
from tests.workflows.checks import assert_invariants
from tests.workflows.versions.deploys import BEAT_US, Mended, One, Stuck, Three, Two, deploy
from workflows import Handler, Status


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Three workflows of version 1, one of them with a state that version 3 can make nothing of."""
    with Rig(deploy(One, audit=True)) as rig:
        for hp in (100, 80, -5):
            rig.start("npc", payload={"hp": hp})
        yield rig
        if rig.is_open:
            assert_invariants(rig)


def redeploy(rig: Rig, *types: type[Handler[Any]]) -> None:
    """A restart with other code."""
    rig.crash()
    rig.reopen(deploy(*types, audit=True))


def state(rig: Rig, workflow_id: int) -> tuple[int, Any]:
    """The stored version and state."""
    row = rig.row("workflow", workflow_id)
    return row.state_version, json.loads(row.state)


def test_a_state_is_migrated_with_the_next_step(rig: Rig) -> None:
    """REQ-12: not before, and in the same commit as the step, which sees only its own version."""
    began = rig.clock.now()
    redeploy(rig, Three)
    assert state(rig, 1) == (1, {"hp": 100, "beats": []})
    rig.call("workflow_signal", 1, "hurt", {"hp": 10})
    assert state(rig, 1) == (3, {"share": 900, "hp_max": 100, "beats": []})
    assert state(rig, 2) == (1, {"hp": 80, "beats": []})
    rig.advance(BEAT_US)
    assert state(rig, 2) == (3, {"share": 800, "hp_max": 100, "beats": [began + BEAT_US]})
    assert [e.kind for e in rig.rows("workflow_event") if e.workflow_id == 2] == ["started", "stepped"]


def test_a_query_migrates_in_memory(rig: Rig) -> None:
    """REQ-12: who only reads sees the state as this version knows it, and nothing is stored."""
    redeploy(rig, Three)
    assert rig.call("workflow_query", 1, "inside") == {"share": 1000, "hp_max": 100, "beats": []}
    assert state(rig, 1) == (1, {"hp": 100, "beats": []})


def test_a_cancel_migrates_too(rig: Rig) -> None:
    """One that cannot be migrated is cancelled all the same, without its handler."""
    redeploy(rig, Three)
    for workflow_id in (2, 3):
        rig.call("workflow_cancel", workflow_id, "enough")
    assert [rig.row("workflow", n).status for n in (2, 3)] == [Status.CANCELLED, Status.CANCELLED]
    assert [state(rig, n)[0] for n in (2, 3)] == [3, 1]


def test_a_step_that_changes_nothing_still_stores_the_version(rig: Rig) -> None:
    """The next step need not migrate again."""

    class Same(One):
        state_version = 2
        migrations = {1: lambda state: state}

        def on_hurt(self, w: Any, payload: Any) -> None:
            pass

    redeploy(rig, Same)
    rig.call("workflow_signal", 1, "hurt", {"hp": 10})
    assert state(rig, 1) == (2, {"hp": 100, "beats": []})


def test_a_failing_migration_parks_one_workflow(rig: Rig) -> None:
    """REQ-12: the message names versions and error, its timer is held; a mended deploy takes it up."""
    began = rig.clock.now()
    redeploy(rig, Three)
    rig.advance(BEAT_US)
    row = rig.row("workflow", 3)
    assert (row.status, row.failure_category) == (Status.FAULTED, "task_failure")
    assert row.error_message == "migrations[2] (version 2 to 3) of npc raised ValueError: hp is -5"
    assert state(rig, 3) == (1, {"hp": -5, "beats": []})
    assert [t.held for t in rig.rows("workflow_timer") if t.workflow_id == 3] == [True]
    assert rig.row("workflow", 1).status == rig.row("workflow", 2).status == Status.SUSPENDED
    rig.advance(3 * BEAT_US)
    redeploy(rig, Mended)
    rig.call("workflow_retry", 3, "mended")
    rig.settle()
    beats = [began + n * BEAT_US for n in range(1, 5)]
    assert state(rig, 3) == (3, {"share": 0, "hp_max": 100, "beats": beats})
    rig.advance(BEAT_US)
    assert state(rig, 3)[1]["beats"] == [*beats, began + 5 * BEAT_US] == state(rig, 1)[1]["beats"]


def test_no_path_parks_one_workflow(rig: Rig) -> None:
    """B64: named with the versions; the signal that met it is not lost."""
    rig.call("workflow_signal", 1, "hurt", {"hp": 1})
    redeploy(rig, Stuck)
    assert rig.call("workflow_signal", 2, "hurt", {"hp": 10}) in ("Faulted", "Suspended")
    row = rig.row("workflow", 2)
    assert row.status is Status.FAULTED
    assert row.error_message == (
        "the state of npc was stored in version 1, and this code reads versions 2 to 3: it has no migrations[1]"
    )
    redeploy(rig, Three)
    rig.call("workflow_retry", 2, "the way is there now")
    assert state(rig, 2) == (3, {"share": 700, "hp_max": 100, "beats": []})


def test_blocked_workflows_are_named_in_sql(rig: Rig) -> None:
    """B64: those that nothing has met yet, too; and how many live in which version."""
    redeploy(rig, Stuck)
    named = rig.sql("SELECT id, status, state_version, registered_version, reason FROM blocked_workflows ORDER BY id")
    assert [row[:4] for row in named] == [[n, "Suspended", 1, 3] for n in (1, 2, 3)]
    assert "1 is not within 2 to 3" in named[0][4]
    assert rig.sql("SELECT * FROM workflow_versions") == [["npc", 1, 3, 3, 1]]
    redeploy(rig, Three)
    assert [row[0] for row in rig.sql("SELECT id FROM blocked_workflows")] == [3]
    rig.advance(BEAT_US)
    assert rig.sql("SELECT id, status, reason FROM blocked_workflows") == [
        [3, "Faulted", "migrations[2] (version 2 to 3) of npc raised ValueError: hp is -5"]
    ]


def test_a_state_that_changed_without_a_version_parks(rig: Rig) -> None:
    """A deploy that forgot the version: parked, not failed; putting the code back and a retry are all it takes."""

    class Forgot(Two):
        state_version = 1
        migrations = {}
        downgrades = {}

    redeploy(rig, Forgot)
    assert any(level == "warning" and "has changed under version 1" in text for level, _, text in rig.logs)
    rig.advance(BEAT_US)
    assert {row.status for row in rig.rows("workflow")} == {Status.FAULTED}
    redeploy(rig, One)
    for workflow_id in (1, 2, 3):
        rig.call("workflow_retry", workflow_id, "the code is back")
    rig.advance(BEAT_US)
    assert [len(state(rig, workflow_id)[1]["beats"]) for workflow_id in (1, 2, 3)] == [2, 2, 2]


def test_up_and_down_and_up_again(rig: Rig) -> None:
    """REQ-12 rollback: older code with downgrades reads what newer code stored; nothing is lost on the way."""

    class OneAgain(One):
        downgrades = {2: Two.downgrades[2], 3: Three.downgrades[3]}

    began = rig.clock.now()
    for deployed in (Two, Mended, OneAgain, Mended, Two):
        redeploy(rig, deployed)
        rig.advance(BEAT_US)
        if rig.row("workflow", 1).status is not Status.SUSPENDED:
            break
    # Two has no way down from version 3, so the last deploy parks them; the one before takes them up again.
    assert {row.status for row in rig.rows("workflow")} == {Status.FAULTED}
    assert "downgrades[3]" in rig.row("workflow", 1).error_message
    redeploy(rig, Mended)
    for workflow_id in (1, 2, 3):
        rig.call("workflow_retry", workflow_id, "back")
    beats = [began + n * BEAT_US for n in range(1, 6)]
    assert state(rig, 1) == (3, {"share": 1000, "hp_max": 100, "beats": beats})
    assert state(rig, 2) == (3, {"share": 800, "hp_max": 100, "beats": beats})
    assert state(rig, 3) == (3, {"share": 0, "hp_max": 100, "beats": beats})


def _played(crash_at: int | None) -> list[Any]:
    """What is left of two workflows after a deploy, a failure, a mended deploy and a retry."""
    with Rig(deploy(One)) as rig:
        rig.start("npc", payload={"hp": 50})
        rig.start("npc", payload={"hp": -5})
        rig.crash()
        rig.reopen(deploy(Three))

        def mend() -> None:
            rig.crash()
            rig.reopen(deploy(Mended))

        steps: list[Callable[[], Any]] = [
            lambda: rig.call("workflow_signal", 1, "hurt", {"hp": 10}, key="hurt"),
            lambda: rig.advance(BEAT_US),
            lambda: rig.advance(BEAT_US),
            mend,
            lambda: rig.call("workflow_retry", 2, "mended", key="retry"),
            lambda: rig.advance(BEAT_US),
            lambda: rig.call("workflow_signal", 1, "leave", key="leave"),
        ]
        for number, step in enumerate(steps):
            if number == crash_at:
                rig.crash()
                rig.reopen()
            step()
        rig.crash()
        rig.reopen()
        return [(row.status, row.state_version, row.state, row.result) for row in rig.rows("workflow")]


@pytest.fixture(scope="module")
def without_crash() -> list[Any]:
    """What is left when nothing crashes."""
    played = _played(None)
    assert [row[:2] for row in played] == [(Status.COMPLETED, 3), (Status.SUSPENDED, 3)]
    return played


@pytest.mark.parametrize("crash_at", range(7))
def test_a_crash_at_every_step_of_a_migration(crash_at: int, without_crash: list[Any]) -> None:
    """REQ-12: what a crash leaves behind is what the run without one leaves behind."""
    assert _played(crash_at) == without_crash


def test_a_migration_that_never_ends_parks(rig: Rig) -> None:
    """A migration that uses the time of a whole call up is not the workflow's fault."""
    from reactor.budget import CallBudgetExceededError

    def forever(state: dict[str, Any]) -> dict[str, Any]:
        raise CallBudgetExceededError

    class Endless(Two):
        migrations = {1: forever}

    rig.crash()
    rig.reopen(deploy(Endless, audit=True, recover=False))
    rig.advance(BEAT_US)
    assert {row.status for row in rig.rows("workflow")} == {Status.FAULTED}


# -- the owner's verb --------------------------------------------------------------------------------


def test_migrate_in_batches(rig: Rig) -> None:
    """REQ-12: eagerly, a bounded number a call; those that cannot be migrated are named and left as they are."""
    redeploy(rig, Three)
    dry = rig.call("workflow_migrate", "npc", 10, 0, True)
    assert (dry["versions"], dry["to_migrate"], dry["tried"], dry["failed"]) == ({"1": 3}, 3, 3, 1)
    assert dry["samples"][0]["id"] == 3 and "hp is -5" in dry["samples"][0]["message"]
    assert state(rig, 1)[0] == 1
    first = rig.call("workflow_migrate", "npc", 1)
    assert first == {"migrated": 1, "failed": 0, "samples": [], "last_id": 1, "more": True}
    rest = rig.call("workflow_migrate", "npc", 10, first["last_id"])
    assert (rest["migrated"], rest["failed"], rest["last_id"], rest["more"]) == (1, 1, 3, False)
    assert [state(rig, n)[0] for n in (1, 2, 3)] == [3, 3, 1]
    assert rig.row("workflow", 3).status is Status.SUSPENDED
    assert [e.kind for e in rig.rows("workflow_event") if e.workflow_id == 1] == ["started", "migrated"]
    assert rig.call("workflow_migrate", "npc", 10)["migrated"] == 0


@pytest.mark.parametrize("limit", [0, 10_001])
def test_migrate_is_bounded(rig: Rig, limit: int) -> None:
    """No call holds the others up."""
    with pytest.raises(SenderError, match="parameter limit"):
        rig.call("workflow_migrate", "npc", limit)


def test_verbs_are_the_owners(rig: Rig) -> None:
    """REQ-24: strangers neither migrate nor retire."""
    for reducer in ("workflow_migrate", "workflow_type_retire", "workflow_type_restore", "workflow_type_status"):
        with pytest.raises(SenderError) as error:
            rig.call(reducer, "npc", sender="f" * 32)
        assert error.value.code == "forbidden"


@pytest.mark.parametrize("after", [-1, 1 << 63])
def test_a_migration_goes_on_after_an_id(rig: Rig, after: int) -> None:
    """REQ-12: what was no answer of the call before is refused."""
    with pytest.raises(SenderError) as refused:
        rig.call("workflow_migrate", "npc", 10, after)
    assert refused.value.code == "bad_arguments"
