"""Schedules made by game code, in its own commit."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from reactor import minutes
from reactor.errors import SenderError
from reactor.testing import Rig
from tests.workflows.schedules.kit import EVERY_TEN, crash, events, runs, the
from workflows.schedules import Spec


def test_game_code_needs_no_permission(rig: Rig) -> None:
    """B70: all verbs, for whoever calls; undone with the call."""

    def make(ctx: Any) -> int:
        row = ctx.schedules.create("s", Spec(["*/10 * * * *"]), workflow_type="work", payload={"takes_us": 0})
        ctx.schedules.update("s", description="mine")
        assert ctx.schedules.trigger("s")["outcome"] == "started"
        return int(row.id)

    rig.run(make, sender="a" * 32)
    crash(rig)
    rig.advance(minutes(7))
    assert (len(runs(rig, "completed")), the(rig).description) == (2, "mine")

    def break_off(ctx: Any) -> None:
        ctx.schedules.pause("s", "why")
        ctx.schedules.resume("s")
        ctx.schedules.delete("s")
        raise SenderError("sender_error", "after all not")

    with pytest.raises(SenderError, match="after all not"):
        rig.run(break_off)
    assert the(rig).status == "active"
    assert [kind for kind, _ in events(rig, "paused", "deleted")] == []


def create(spec: Any, settings: dict[str, Any], ctx: Any) -> None:
    """Make a schedule."""
    ctx.schedules.create("s", spec, **settings)


def test_mistakes_are_named(rig: Rig) -> None:
    """B81: as by the reducers."""
    for spec, settings, parameter in (
        ({"crom": []}, {"workflow_type": "work"}, "spec"),
        (EVERY_TEN, {"workflow": "work"}, "settings"),
        (EVERY_TEN, {"workflow_type": "work", "jitter_us": -1}, "jitter_us"),
    ):
        with pytest.raises(SenderError) as caught:
            rig.run(partial(create, spec, settings))
        assert (caught.value.code, caught.value.details["parameter"]) == ("bad_arguments", parameter)
    with pytest.raises(SenderError, match="there is no schedule 's'"):
        rig.run(lambda ctx: ctx.schedules.pause("s", "why"))
