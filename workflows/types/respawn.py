"""``respawn``: something dead comes back after a while.

    start ──▶ waiting ──due──▶ Completed {"respawned_at": …}

It takes no signals, and only the game and the owner may cancel it: nobody talks a boss back to life early. The delay
may be a range, from which it is drawn once, when the workflow starts. Its clock is ``wall``: it runs on while the
server is down, and what was due meanwhile comes back right after the start.
"""

from __future__ import annotations

from typing import Any

import msgspec

from reactor.context import Context
from reactor.errors import SenderError
from workflows.handle import Timer, Workflow
from workflows.handler import Handler
from workflows.payload import Payload
from workflows.types.spans import Wait


class RespawnStart(Payload):
    """When it comes back: after ``delay_us``, or, with ``delay_max_us``, after a time drawn between the two."""

    delay_us: Wait
    delay_max_us: Wait | None = None
    data: Any = None


class RespawnState(msgspec.Struct, omit_defaults=True):
    """Since when it is dead and when it comes back, as values of the clock."""

    died_at: int
    due_at: int
    data: Any = None


class Respawn(Handler[RespawnState]):
    """The built-in respawn; see the module."""

    name = "respawn"
    clock = "wall"
    timers = ("due",)

    # -- for games ---------------------------------------------------------------------------

    def on_respawn(self, w: Workflow[RespawnState]) -> None:
        """It is back; ``w.now`` is the instant it was due."""

    # -- its life ----------------------------------------------------------------------------

    def on_start(self, w: Workflow[RespawnState], payload: RespawnStart) -> None:
        """Note the death and draw the delay."""
        delay_us, most = payload.delay_us, payload.delay_max_us
        if most is not None:
            if most < delay_us:
                raise SenderError("bad_arguments", "delay_max_us is below delay_us", parameter="payload")
            delay_us = w.random.randint(delay_us, most)
        now = w.time()
        w.step = "waiting"
        w.state = RespawnState(died_at=now, due_at=now + delay_us, data=payload.data)
        w.timer("due", at=w.state.due_at)

    def on_timer(self, w: Workflow[RespawnState], timer: Timer) -> None:
        """Back again."""
        w.step = "alive"
        self.on_respawn(w)
        w.complete({"respawned_at": timer.due_value})

    def on_recover(self, w: Workflow[RespawnState]) -> None:
        """Due when it was due."""
        if w.timer_due("due") is None:
            w.timer("due", at=w.state.due_at)

    def may(self, ctx: Context, workflow: Any, verb: str) -> bool | None:
        """No client interrupts it, not even the one that started it."""
        return False if verb == "cancel" else None
