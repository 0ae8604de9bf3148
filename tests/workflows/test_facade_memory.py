"""What a call asks of its context leaves no circles of objects: the server's collector does not look for old ones."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.samples import Counter

CALLS = 50


def play(ctx: Any) -> None:
    """A call that uses extensions."""
    ctx.workflows.signal(1, "add", amount=1)
    ctx.events.publish("noon")


def by_a_call(rig: Rig) -> None:
    """Play once."""
    rig.run(play)


def by_a_timer(rig: Rig) -> None:
    """Play once, as a scheduled command."""
    rig.call("command_schedule", "play", None, None, 1)
    rig.advance(1)


def left_by(act: Callable[[Rig], None], rig: Rig) -> int:
    """How many objects ``CALLS`` calls leave to the collector."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(CALLS):
            act(rig)
        return gc.collect()
    finally:
        gc.enable()


@pytest.mark.parametrize("act", [by_a_call, by_a_timer])
def test_calls_leave_no_circles(make_rig: MakeRig, act: Callable[[Rig], None]) -> None:
    """REQ-6: a context and what it has made refer to each other, but only while the call runs."""
    rig = make_rig(Counter)
    module: Any = rig.module
    module.command("play")(lambda ctx, data: play(ctx))
    rig.start("counter")
    act(rig)
    assert left_by(act, rig) < CALLS
