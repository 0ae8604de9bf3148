"""``ctx.after_refusal``: what a refused call leaves behind though all it did is undone (D72, D73, F10)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from reactor import Context, Module, ReactorError, SenderError, primary_key
from reactor.budget import CallBudgetExceededError
from reactor.system import REQUEST_TABLE
from reactor.testing import Rig

door = Module("door")


@door.table(public=True)
class Knock:
    """A call that was refused."""

    id: int = primary_key(auto=True)
    what: str
    sender: str | None
    code: str
    at: int


@door.table()
class Guest:
    """Somebody who came in."""

    id: int = primary_key(auto=True)
    name: str


def note(what: str, ctx: Context, error: SenderError) -> None:
    """The trace."""
    ctx.db.knock.insert(what=what, sender=ctx.sender, code=error.code, at=ctx.now)


@door.reducer
def enter(ctx: Context, name: str, how: str = "refuse") -> int:
    """Come in, or not."""
    ctx.after_refusal(partial(note, name))
    guest: int = ctx.db.guest.insert(name=name).id
    if how == "refuse":
        raise SenderError("forbidden", "not you")
    if how == "break":
        raise ZeroDivisionError
    if how == "bad trace":
        ctx.after_refusal(_broken)
        raise SenderError("forbidden", "not you")
    return guest


def _broken(ctx: Context, error: SenderError) -> None:
    note("broken", ctx, error)
    raise CallBudgetExceededError


def refused(act: Any) -> ReactorError:
    """The error an act is answered with."""
    with pytest.raises(ReactorError) as caught:
        act()
    return caught.value


def knocks(rig: Rig) -> list[tuple[str, str]]:
    """The traces."""
    return [(row.what, row.code) for row in rig.rows("knock")]


def test_a_refusal_leaves_its_trace_and_nothing_else() -> None:
    """D72, D73: one commit after the call was undone, seen by subscribers, kept over a crash."""
    with Rig(door) as rig:
        watch = rig.subscribe("SELECT * FROM knock")
        before = rig.engine.seq
        assert refused(lambda: rig.call("enter", "eve")).code == "forbidden"
        assert knocks(rig) == [("eve", "forbidden")]
        assert rig.rows("guest") == []
        assert rig.engine.seq == before + 1
        assert [kind for kind, _ in watch.events] == ["insert"]
        rig.crash()
        rig.reopen()
        assert knocks(rig) == [("eve", "forbidden")]
        assert rig.rows("knock")[0].at == rig.clock.now()


@pytest.mark.parametrize("how", ["let in", "break"])
def test_only_refusals_leave_traces(how: str) -> None:
    """A call that is done, and one that failed by a defect of ours, leave none."""
    with Rig(door) as rig:
        if how == "break":
            assert refused(lambda: rig.call("enter", "bob", how)).code == "internal"
        else:
            rig.call("enter", "bob", how)
        assert knocks(rig) == []
        assert len(rig.rows("guest")) == int(how == "let in")


def test_a_trace_that_fails_leaves_nothing_and_harms_nobody() -> None:
    """F7: the others are written, the error is answered, the key is remembered."""
    with Rig(door) as rig:
        assert refused(lambda: rig.call("enter", "eve", "bad trace", key="k")).code == "forbidden"
        assert knocks(rig) == [("eve", "forbidden")]
        assert len(rig.rows(REQUEST_TABLE)) == 1
        assert rig.call("enter", "bob", "let in") == rig.rows("guest")[0].id


def test_a_batch_leaves_the_trace_of_the_call_that_was_refused() -> None:
    """D72: what came before it is undone; the trace may read which call of the batch it was."""
    with Rig(door) as rig:
        acts = (("enter", "ann", "let in"), ("enter", "eve"), ("enter", "bob", "let in"))
        error = refused(lambda: rig.batch(*acts))
        assert (error.code, error.details["index"]) == ("forbidden", 1)
        assert rig.rows("guest") == []
        assert knocks(rig) == [("ann", "forbidden"), ("eve", "forbidden")]


def test_a_request_sent_again_leaves_no_second_trace() -> None:
    """P5: the answer is remembered in the commit of the trace, so there is one of each whatever happens."""
    with Rig(door) as rig:
        for _ in range(2):
            assert refused(lambda: rig.call("enter", "eve", key="k")).code == "forbidden"
            assert refused(lambda: rig.batch(("enter", "eve"), key="b")).code == "forbidden"
            rig.crash()
            rig.reopen()
        assert len(knocks(rig)) == 2
        assert len(rig.rows(REQUEST_TABLE)) == 2
