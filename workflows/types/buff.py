"""``buff``: something on an entity that lasts a while, may tick, may stack, and can be taken off.

    start ──▶ active ──expire──▶ Completed {"outcome": "expired"}
               │  ▲ └─dispel──▶ Completed {"outcome": "dispelled"}
      tick,    │  │ └─entity_death──▶ Completed {"outcome": "entity_death"}
      stack,   └──┘ └─cancel──▶ Cancelled
      refresh

A tick and the end at the same instant: the tick comes first. Refreshing moves the end and leaves the ticks in their
phase. A game derives a class and says in the hooks what the buff does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from workflows.handle import Timer, Workflow
from workflows.handler import Handler
from workflows.payload import NoPayload, Payload
from workflows.types.spans import Count, Period, Span


class OnStack(StrEnum):
    """What another stack does to the time that is left."""

    RESET = "reset"
    """The full duration again."""
    KEEP = "keep"
    """Nothing."""
    EXTEND = "extend"
    """One duration more."""


class BuffStart(Payload):
    """How a buff is started. Without ``duration_us`` it lasts until it is taken off.

    ``effect`` and ``data`` are the game's own; ``kind`` is what a dispel may ask for, such as ``magic``.
    """

    effect: str = ""
    duration_us: Span | None = None
    tick_us: Period | None = None
    stacks: Count = 1
    max_stacks: Count = 1
    on_stack: OnStack = OnStack.RESET
    kind: str = ""
    data: Any = None


class Stack(Payload):
    """More stacks; those above the maximum are lost, but the duration is treated as if they were not."""

    count: Count = 1


class Refresh(Payload):
    """Begin the duration again, with another length if one is given."""

    duration_us: Span | None = None


class Dispel(Payload):
    """Take the buff off; with a ``kind``, only if it is of that kind."""

    kind: str | None = None


class BuffState(msgspec.Struct, omit_defaults=True):
    """A buff on its entity. ``ends_at`` is a value of the buff's clock, None without end."""

    effect: str
    stacks: int
    max_stacks: int
    duration_us: int | None = None
    ends_at: int | None = None
    tick_us: int | None = None
    ticks_from: int | None = None
    on_stack: OnStack = OnStack.RESET
    kind: str = ""
    data: Any = None


class Buff(Handler[BuffState]):
    """The built-in buff; see the module."""

    name = "buff"
    clock = "world"
    timers = ("tick", "expire")
    signals = {"stack": Stack, "refresh": Refresh, "dispel": Dispel, "entity_death": NoPayload}

    # -- for games ---------------------------------------------------------------------------

    def on_applied(self, w: Workflow[BuffState]) -> None:
        """The buff begins."""

    def on_tick(self, w: Workflow[BuffState], timer: Timer) -> None:
        """A tick is due; ``timer.missed`` counts those left out before it."""

    def on_stacked(self, w: Workflow[BuffState], before: int) -> None:
        """The number of stacks was ``before`` and is now another."""

    def on_removed(self, w: Workflow[BuffState], cause: str) -> None:
        """It is over: ``expired``, ``dispelled``, ``entity_death`` or ``cancelled``."""

    # -- its life ----------------------------------------------------------------------------

    def on_start(self, w: Workflow[BuffState], payload: BuffStart) -> None:
        """Apply it."""
        now = w.time()
        w.step = "active"
        w.state = BuffState(
            effect=payload.effect,
            stacks=min(payload.stacks, payload.max_stacks),
            max_stacks=payload.max_stacks,
            duration_us=payload.duration_us,
            ends_at=None if payload.duration_us is None else now + payload.duration_us,
            tick_us=payload.tick_us,
            ticks_from=None if payload.tick_us is None else now,
            on_stack=payload.on_stack,
            kind=payload.kind,
            data=payload.data,
        )
        if payload.tick_us is not None:
            w.timer("tick", interval_us=payload.tick_us)
        if payload.duration_us is not None:
            w.timer("expire", at=w.state.ends_at)
        self.on_applied(w)

    def on_timer(self, w: Workflow[BuffState], timer: Timer) -> None:
        """A tick, or the end."""
        if timer.name == "tick":
            self.on_tick(w, timer)
        else:
            self._end(w, "expired")

    def on_stack(self, w: Workflow[BuffState], payload: Stack) -> None:
        """More stacks, and what they do to the duration."""
        state, before = w.state, w.state.stacks
        state.stacks = min(before + payload.count, state.max_stacks)
        if state.on_stack is OnStack.RESET:
            self._last_until(w, state.duration_us)
        elif state.on_stack is OnStack.EXTEND and state.ends_at is not None and state.duration_us is not None:
            self._last_until(w, state.ends_at - w.time() + state.duration_us)
        if state.stacks != before:
            self.on_stacked(w, before)

    def on_refresh(self, w: Workflow[BuffState], payload: Refresh) -> None:
        """The whole duration again."""
        if payload.duration_us is not None:
            w.state.duration_us = payload.duration_us
        self._last_until(w, w.state.duration_us)

    def on_dispel(self, w: Workflow[BuffState], payload: Dispel) -> None:
        """Taken off, if the kind fits."""
        if payload.kind is None or payload.kind == w.state.kind:
            self._end(w, "dispelled")

    def on_entity_death(self, w: Workflow[BuffState], payload: NoPayload) -> None:
        """The entity died with the buff on it."""
        self._end(w, "entity_death")

    def on_cancel(self, w: Workflow[BuffState], reason: str) -> Any:
        """Taken off by whoever started it, or by the operator."""
        self.on_removed(w, "cancelled")
        return {"outcome": "cancelled", "stacks": w.state.stacks}

    def on_recover(self, w: Workflow[BuffState]) -> None:
        """Arm what is missing: the end where it was, the ticks in their phase."""
        state = w.state
        if state.ends_at is not None and w.timer_due("expire") is None:
            w.timer("expire", at=state.ends_at)
        if state.tick_us is not None and state.ticks_from is not None and w.timer_due("tick") is None:
            gone = max(w.time() - state.ticks_from, 0) // state.tick_us
            w.timer("tick", at=state.ticks_from + (gone + 1) * state.tick_us, interval_us=state.tick_us)

    def _last_until(self, w: Workflow[BuffState], remaining_us: int | None) -> None:
        if remaining_us is not None:
            w.state.ends_at = w.time() + remaining_us
            w.timer("expire", at=w.state.ends_at)

    def _end(self, w: Workflow[BuffState], outcome: str) -> None:
        w.step = outcome
        self.on_removed(w, outcome)
        w.complete({"outcome": outcome, "stacks": w.state.stacks})
