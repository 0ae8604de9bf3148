"""The command log: every command, accepted or refused, is a row; and nobody can make it grow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reactor import SenderError, days, seconds
from reactor.limits import DEFAULT_LIMITS
from reactor.testing import OWNER, Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.control.samples import TYPES, broken
from workflows import Handler, NoPayload, Workflow

ALICE = "a" * 32


def log(rig: Rig) -> list[tuple[Any, ...]]:
    """The commands, in order."""
    return [(r.caller, r.verb, r.workflow_id, r.outcome, r.code) for r in rig.rows("command_log")]


def refused(act: Any) -> SenderError:
    """The refusal of an act."""
    with pytest.raises(SenderError) as caught:
        act()
    return caught.value


def test_every_verb_leaves_its_row(rig: Rig) -> None:
    """D73: who, when, what, of which, why, and what came of it, in the commit of what it did."""
    one = rig.start("parked")
    seq = rig.engine.seq
    rig.advance(seconds(3))
    broken["boom"] = 1
    rig.call("workflow_suspend", one, "a look")
    rig.call("workflow_resume", one)
    rig.call("workflow_resume", one, "again")
    rig.call("workflow_signal", one, "say", {"word": "boom"})
    rig.call("workflow_retry", one, "mended")
    rig.call("workflow_cancel", one, "enough")
    assert rig.engine.seq == seq + 6
    rows = rig.rows("command_log")
    assert [(r.verb, r.reason, r.outcome, r.detail) for r in rows] == [
        ("suspend", "a look", "accepted", None),
        ("resume", None, "accepted", None),
        ("resume", "again", "accepted", "not applied: its status is another"),
        ("retry", "mended", "accepted", None),
        ("cancel", "enough", "accepted", None),
    ]
    assert {(r.caller, r.workflow_id, r.workflow_type, r.at) for r in rows} == {(OWNER, one, "parked", rig.clock.now())}


def test_refusals_leave_theirs_though_the_call_is_undone(rig: Rig) -> None:
    """D72, F10: code and sentence; nothing else is written; kept over a crash."""
    one = rig.call("workflow_start", "fragile", None, None, None, sender=ALICE)
    before, seq = rig.row("workflow", one), rig.engine.seq
    for verb, args, code in (
        ("start", ("nothing",), "unknown_type"),
        ("start", ("fragile", None, None, {"x": 1}), "bad_arguments"),
        ("signal", (one, "nope"), "unknown_signal"),
        ("signal", (one, "say", {"word": 7}), "bad_arguments"),
        ("signal", (99, "say"), "unknown_workflow"),
        ("cancel", (99, "x"), "unknown_workflow"),
        ("terminate", (one, "x"), "forbidden"),
    ):
        error = refused(lambda verb=verb, args=args: rig.call(f"workflow_{verb}", *args, sender=ALICE))
        assert error.code == code
        row = rig.rows("command_log")[-1]
        assert (row.verb, row.code, row.detail, row.outcome) == (verb, code, error.message[:500], "refused")
    assert rig.engine.seq == seq + 7
    assert rig.row("workflow", one) is before
    told = log(rig)
    rig.crash()
    rig.reopen()
    assert log(rig) == told


def test_in_a_batch_the_refused_one_is_named(rig: Rig) -> None:
    """D72: what was accepted before it in the batch is undone, and so is its row."""
    one = rig.start("fragile")
    error = refused(lambda: rig.batch(("workflow_suspend", one, "x"), ("workflow_signal", one, "nope")))
    assert error.details["index"] == 1
    assert log(rig) == [(OWNER, "signal", one, "refused", "unknown_signal")]


def test_a_request_sent_again_is_one_command(rig: Rig) -> None:
    """P5, D73: by its idempotency key, accepted or refused."""
    one = rig.start("fragile")
    for _ in range(2):
        rig.call("workflow_suspend", one, "x", key="a")
        refused(lambda: rig.call("workflow_signal", one, "nope", key="b"))
        rig.crash()
        rig.reopen()
    assert [row[1] for row in log(rig)] == ["suspend", "signal"]


def test_starts_and_signals_are_logged_when_all_is(make_rig: MakeRig) -> None:
    """D73: ``commands="all"``; by default the workflow's own row is their trace, with ``off`` there is none at all."""
    for mode, verbs in (("all", ["start", "signal", "start_batch", "suspend"]), ("control", ["suspend"]), ("off", [])):
        rig = make_rig(*TYPES, commands=mode)
        one = rig.start("fragile")
        rig.call("workflow_signal", one, "say", {"word": "x"})
        rig.call("workflow_start_batch", [{"type": "fragile"}, {"type": "fragile"}])
        rig.call("workflow_suspend", one, "x")
        refused(lambda rig=rig: rig.call("workflow_cancel", 99, "x"))
        assert [row[1] for row in log(rig)] == (verbs if mode == "off" else [*verbs, "cancel"])


class Chain(Handler[None]):
    """Starts and cancels others, and is refused, from its own step."""

    name = "chain"
    signals = {"go": NoPayload}

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
        """Waits."""

    def on_go(self, w: Workflow[None], payload: NoPayload) -> None:
        other = w.workflows.start("fragile")
        w.workflows.cancel(other, "x")
        try:
            w.workflows.cancel(other, "again")
        except SenderError:
            w.log("it had ended")


def test_what_handlers_do_is_no_command(make_rig: MakeRig) -> None:
    """D73: game code's part of a call is the call's."""
    rig = make_rig(Chain, *TYPES, commands="all")
    rig.call("workflow_signal", rig.start("chain"), "go", sender=ALICE)
    assert [row[:2] for row in log(rig)] == [(OWNER, "start"), (ALICE, "signal")]


def test_the_newest_are_kept(make_rig: MakeRig) -> None:
    """D73: refusals have a quota of their own, so that nobody's mistakes push out what was done."""
    rig = make_rig(*TYPES, limits=replace(DEFAULT_LIMITS, commands_kept_max=5))
    one = rig.start("fragile")
    for number in range(8):
        rig.call("workflow_suspend", one, f"{number}")
        rig.call("workflow_resume", one)
    for _ in range(20):
        refused(lambda: rig.call("workflow_cancel", 99, "x", sender=ALICE))
    rows = rig.rows("command_log")
    assert [r.verb for r in rows if r.outcome == "accepted"] == ["resume", "suspend", "resume", "suspend", "resume"]
    assert len([r for r in rows if r.outcome == "refused"]) == 5
    rig.crash()
    rig.reopen()
    rig.call("workflow_suspend", one, "x")
    assert len([r for r in rig.rows("command_log") if r.outcome == "accepted"]) == 5


def test_a_flood_of_refusals_is_counted_and_not_written(make_rig: MakeRig) -> None:
    """REQ-19, F10: so many in a second; the next that is written tells how many were not."""
    rig = make_rig(*TYPES, limits=replace(DEFAULT_LIMITS, refusals_per_second_max=10))
    seq = rig.engine.seq
    for _ in range(50):
        assert refused(lambda: rig.call("workflow_cancel", 99, "x", sender=ALICE)).code == "unknown_workflow"
    assert rig.engine.seq == seq + 10
    rig.advance(seconds(1))
    refused(lambda: rig.call("workflow_cancel", 99, "x", sender=ALICE))
    assert [r.omitted for r in rig.rows("command_log")] == [0] * 10 + [40]


def test_the_log_is_the_owners_to_read(rig: Rig) -> None:
    """A111: clients see neither who asked for what nor what went wrong."""
    rig.start("fragile")
    for table in ("command_log", "execution_error", "workflow_parked", "workflow_warning"):
        assert refused(lambda table=table: rig.sql(f"SELECT * FROM {table}", owner=False)).code in (
            "sql_forbidden", "forbidden", "unauthorized",
        )  # fmt: skip
        rig.sql(f"SELECT * FROM {table}")


def test_verbs_of_other_parts_are_in_it(rig: Rig) -> None:
    """D73, D95: schedules, names, groups: each says what it was about."""
    one = rig.start("fragile")
    rig.call("schedule_create", "hourly", {"cron": ["0 * * * *"]}, {"workflow_type": "fragile"})
    rig.call("schedule_pause", "hourly", "x")
    assert refused(lambda: rig.call("schedule_pause", "weekly", "x", sender=ALICE)).code == "forbidden"
    rig.call("workflow_rename", one, "the-one")
    rig.call("workflow_group", "suspend", {"ids": [one]}, None, None, "maintenance")
    assert [row[1] for row in log(rig)] == [
        "schedule_create", "schedule_pause", "schedule_pause", "rename", "group_suspend",
    ]  # fmt: skip
    assert [r.detail for r in rig.rows("command_log")][:2] == ["hourly", "hourly"]
    assert rig.engine.program.reducers["schedule_pause"].to_json()["params"][0]["name"] == "name"


def test_commands_outlive_the_workflow(rig: Rig) -> None:
    """A105, D73: what was asked of it stays readable when it is cleaned up."""
    one = rig.start("fragile")
    rig.call("workflow_cancel", one, "x")
    rig.advance(days(2))
    rig.call("cleanup_old_workflows", 1)
    assert rig.row("workflow", one) is None
    assert log(rig) == [(OWNER, "cancel", one, "accepted", None)]
