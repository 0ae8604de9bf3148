"""Scheduled commands: once for each name and data, at the earliest time, and none in the way of another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reactor import Module, Refusal, SenderError, Timestamp, hours, milliseconds, primary_key, seconds
from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from reactor.testing import Rig
from workflows import WorkflowEngine


class Trouble:
    """What the commands do besides writing down that they ran."""

    def __init__(self) -> None:
        self.broken = False


def castle(trouble: Trouble, *, with_ring: bool = True) -> Module:
    """A game with two commands that write rows."""
    engine = WorkflowEngine()
    module = Module("castle", includes=[engine])

    @module.table(public=True)
    class Heard:
        id: int = primary_key(auto=True)
        what: str
        at: Timestamp

    def ring(ctx: Context, data: Any) -> None:
        ctx.db.heard.insert(what=f"ring {data}", at=ctx.now)
        if trouble.broken or data == {"bell": "cracked"}:
            raise RuntimeError("it is cracked")

    def hourly(ctx: Context, data: Any) -> None:
        ctx.db.heard.insert(what="hour", at=ctx.now)
        ctx.commands.schedule("hourly", data, after_us=hours(1))

    def endless(ctx: Context, data: Any) -> None:
        ctx.db.heard.insert(what="endless", at=ctx.now)
        raise CallBudgetExceededError

    if with_ring:
        engine.command("ring")(ring)
    engine.command("hourly")(hourly)
    engine.command("endless")(endless)
    return module


@pytest.fixture
def trouble() -> Trouble:
    return Trouble()


@pytest.fixture
def rig(trouble: Trouble) -> Iterator[Rig]:
    with Rig(castle(trouble)) as made:
        yield made


def heard(rig: Rig) -> list[str]:
    return [row.what for row in rig.rows("heard")]


def test_a_command_runs_once_at_its_time_and_is_gone(rig: Rig) -> None:
    """E22: handed over and deleted in one commit, at its instant, also past a crash and when it was due meanwhile."""
    begin = rig.clock.now()
    rig.call("command_schedule", "ring", {"bell": 1}, None, seconds(5))
    rig.call("command_schedule", "ring", {"bell": 2}, begin + seconds(9))
    rig.advance(seconds(5) - 1)
    rig.crash()
    rig.reopen()
    assert heard(rig) == []
    seq = rig.engine.seq
    rig.advance(1)
    assert rig.engine.seq == seq + 1
    assert [(row.what, row.at) for row in rig.rows("heard")] == [("ring {'bell': 1}", begin + seconds(5))]
    assert [row.data for row in rig.rows("scheduled_command")] == ['{"bell":2}']
    rig.crash()
    rig.advance(hours(1))
    rig.reopen()
    assert [row.at for row in rig.rows("heard")][1:] == [begin + seconds(9)]
    assert rig.rows("scheduled_command") == []


def test_a_command_is_one_by_name_and_data(rig: Rig) -> None:
    """E22, E24: the same again is ignored, whatever the order of its fields; an earlier time is kept, a later one
    not."""
    begin = rig.clock.now()
    first = rig.call("command_schedule", "ring", {"bell": 1, "loud": True}, None, seconds(60))
    assert first == {"id": first["id"], "at": begin + seconds(60), "new": True}
    again = rig.call("command_schedule", "ring", {"loud": True, "bell": 1}, None, seconds(90))
    assert again == {**first, "new": False}
    earlier = rig.call("command_schedule", "ring", {"loud": True, "bell": 1}, None, seconds(7))
    assert earlier == {"id": first["id"], "at": begin + seconds(7), "new": False}
    other = rig.call("command_schedule", "ring", {"bell": 1}, None, seconds(7))
    assert other["id"] != first["id"]
    rig.advance(seconds(7))
    assert len(heard(rig)) == 2
    rig.advance(seconds(90))
    assert len(heard(rig)) == 2
    assert rig.call("command_schedule", "ring", {"bell": 1}, None, 0)["new"] is True


def test_one_that_fails_stops_no_other(rig: Rig, trouble: Trouble) -> None:
    """E23, P7: of ten due together nine are done; the tenth is kept with its error and tried later and later."""
    for bell in range(9):
        rig.call("command_schedule", "ring", {"bell": bell}, None, seconds(1))
    rig.call("command_schedule", "ring", {"bell": "cracked"}, None, seconds(1))
    rig.advance(seconds(1))
    assert len(heard(rig)) == 9
    (row,) = rig.call("command_list")
    now = rig.clock.now()
    assert (row["attempts"], row["error"], row["failed_at"]) == (1, "RuntimeError: it is cracked", now)
    assert (row["execute_at"], row["scheduled_at"]) == (now, now + seconds(1))
    for attempt, wait in ((2, 1), (3, 2), (4, 4)):
        rig.advance(seconds(wait))
        assert rig.rows("scheduled_command")[0].attempts == attempt
    assert rig.rows("timer_error") == []
    assert any("it is cracked" in message for level, _, message in rig.logs if level == "error")
    earlier = rig.call("command_schedule", "ring", {"bell": "cracked"}, None, milliseconds(10))
    assert earlier["new"] is False
    rig.advance(milliseconds(10))
    assert rig.rows("scheduled_command")[0].attempts == 5
    rig.advance(hours(24))
    assert rig.rows("scheduled_command")[0].attempts > 24
    last = rig.rows("scheduled_command")[0]
    assert last.scheduled_at - last.failed_at == hours(1)


def test_one_that_works_again_is_done(rig: Rig, trouble: Trouble) -> None:
    """E23: what failed is undone, so the attempt that works is the only one that left anything."""
    trouble.broken = True
    rig.call("command_schedule", "ring", 7, None, 0)
    rig.advance(seconds(2))
    assert heard(rig) == []
    trouble.broken = False
    rig.advance(seconds(60))
    assert heard(rig) == ["ring 7"]
    assert rig.rows("scheduled_command") == []


def test_one_that_never_ends_is_put_off(rig: Rig) -> None:
    """E23: running out of time is a failure like any other."""
    rig.call("command_schedule", "endless", None, None, 0)
    rig.advance(1)
    (row,) = rig.rows("scheduled_command")
    assert (row.attempts, row.error) == (1, "it ran longer than 2.0 s")
    assert heard(rig) == []


def test_one_may_ask_for_itself_again(rig: Rig) -> None:
    """E22: while it runs it is no longer there, so the next occurrence is a new one; a crash at any time loses none."""
    begin = rig.clock.now()
    rig.call("command_schedule", "hourly", None, None, hours(1))
    for _ in range(6):
        rig.advance(hours(0.5))
        rig.crash()
        rig.reopen()
    assert [row.at - begin for row in rig.rows("heard")] == [hours(1), hours(2), hours(3)]
    assert len(rig.rows("scheduled_command")) == 1


def test_cancelled_ones_do_not_run(rig: Rig) -> None:
    """E22: by name and data, as they were scheduled; game code too."""
    rig.call("command_schedule", "ring", {"a": 1, "b": 2}, None, seconds(1))
    assert rig.call("command_cancel", "ring", {"a": 1}) is False
    assert rig.call("command_cancel", "ring", {"b": 2, "a": 1}) is True
    rig.run(lambda ctx: ctx.commands.schedule("ring", 1, after_us=seconds(1)))
    assert rig.run(lambda ctx: ctx.commands.cancel("ring", 1)) is True
    rig.advance(seconds(2))
    assert heard(rig) == []


def test_what_cannot_be_meant_is_refused(rig: Rig) -> None:
    """E22, F10: an unknown name is refused when it is scheduled, with the names there are; so is everything unclear."""
    with pytest.raises(SenderError) as unknown:
        rig.call("command_schedule", "sing", None, None, 1)
    assert unknown.value.code == "unknown_command"
    assert unknown.value.details["known_commands"] == ["ring", "hourly", "endless"]
    for args, code in (
        ((None,), "bad_arguments"), ((None, 1, 1), "bad_arguments"), ((None, -1), "bad_arguments"),
        (("x" * 300_000, 1), "payload_too_large"),
    ):  # fmt: skip
        with pytest.raises(SenderError) as refused:
            rig.call("command_schedule", "ring", *args)
        assert refused.value.code == code
    for reducer, words in (("command_schedule", ["ring", 1, 1]), ("command_cancel", ["ring"]), ("command_list", [])):
        answer = rig.connect("c" * 32).ask(call=reducer, args=words)
        assert answer["error"]["code"] == "forbidden"
    assert rig.rows("scheduled_command") == []


def test_a_name_is_registered_once() -> None:
    """E22: two functions of one name are a mistake that shows at once."""
    engine = WorkflowEngine()
    engine.command("ring")(lambda ctx, data: None)
    with pytest.raises(Refusal, match="twice"):
        engine.command("ring")
    with pytest.raises(Refusal, match="not a usable name"):
        engine.command("Ring!")


def test_one_whose_function_is_gone_waits_for_it(rig: Rig, trouble: Trouble) -> None:
    """E23, P6: a program without it keeps the row and says why; the next one that has it runs it."""
    rig.call("command_schedule", "ring", 7, None, seconds(1))
    rig.crash()
    rig.reopen(castle(trouble, with_ring=False))
    rig.advance(seconds(1))
    assert "no scheduled command 'ring'" in rig.rows("scheduled_command")[0].error
    rig.crash()
    rig.reopen(castle(trouble))
    rig.advance(seconds(10))
    assert heard(rig) == ["ring 7"]
