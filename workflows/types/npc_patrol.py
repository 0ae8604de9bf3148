"""``npc_patrol``: an NPC walks from waypoint to waypoint, waits there, and is interrupted by fights.

    start ──▶ moving ⇄ waiting ──last waypoint of mode once──▶ Completed {"outcome": "finished"}
                │  ▲      │
   combat_start ▼  │ combat_end (or the end of the fight that combat_start began)
              interrupted

A leg is two rows written: one when it is left for, one when it is reached. There are no ticks: clients draw the way
from the timer's start and due time. While interrupted no time of the leg passes; then it goes on with what was left
of it (``resume: here``) or from its beginning (``resume: departure``).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec

from reactor.errors import SenderError
from workflows.handle import ChildEnd, Timer, Workflow
from workflows.handler import Handler
from workflows.payload import NoPayload, Payload
from workflows.types.spans import PERIOD_US_MIN, Wait


class Mode(StrEnum):
    """What comes after the last waypoint."""

    LOOP = "loop"
    """The first one again."""
    PING_PONG = "ping_pong"
    """The way back."""
    ONCE = "once"
    """Nothing: the patrol is finished."""


class ResumeAt(StrEnum):
    """Where an interrupted leg goes on."""

    HERE = "here"
    DEPARTURE = "departure"


class Waypoint(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A place, how long the way to it takes from the waypoint before it, and how long the NPC stays.

    The way to the first one is walked in mode ``loop`` only, coming from the last.
    """

    place: str
    travel_us: Wait
    wait_us: Wait = 0


class PatrolStart(Payload):
    """A path; the NPC stands at its first waypoint and leaves at once, after the wait there."""

    waypoints: Annotated[list[Waypoint], msgspec.Meta(min_length=1, max_length=1_000)]
    mode: Mode = Mode.LOOP
    resume: ResumeAt = ResumeAt.HERE


class CombatStart(Payload):
    """A fight interrupts the patrol. With ``fight``, the payload of a ``combat``, that combat is started as a child
    and its end resumes the patrol."""

    fight: Any = None


class PatrolState(msgspec.Struct, omit_defaults=True):
    """Where the NPC is: at waypoint ``at``, or on the way from there to ``to``.

    ``remaining_us`` is what was left of the leg or wait (``phase``) when it was interrupted.
    """

    waypoints: list[Waypoint]
    mode: Mode
    resume: ResumeAt
    phase: str
    at: int
    to: int
    direction: int
    remaining_us: int | None = None
    fight_id: int | None = None


class NpcPatrol(Handler[PatrolState]):
    """The built-in patrol; see the module."""

    name = "npc_patrol"
    clock = "world"
    timers = ("arrive", "depart")
    signals = {"combat_start": CombatStart, "combat_end": NoPayload}

    # -- for games ---------------------------------------------------------------------------

    def on_depart(self, w: Workflow[PatrolState]) -> None:
        """It leaves for ``w.state.waypoints[w.state.to]``."""

    def on_arrive(self, w: Workflow[PatrolState], waypoint: Waypoint) -> None:
        """It has reached a waypoint."""

    def on_interrupted(self, w: Workflow[PatrolState]) -> None:
        """A fight begins."""

    def on_resumed(self, w: Workflow[PatrolState]) -> None:
        """The fight is over and it walks on."""

    # -- its life ----------------------------------------------------------------------------

    def on_start(self, w: Workflow[PatrolState], payload: PatrolStart) -> None:
        """Stand at the first waypoint, wait there, and go."""
        points = payload.waypoints
        if payload.mode is not Mode.ONCE:
            self._check_round(points, payload.mode)
        w.state = PatrolState(points, payload.mode, payload.resume, phase="waiting", at=0, to=0, direction=1)
        self._stay(w)

    def on_timer(self, w: Workflow[PatrolState], timer: Timer) -> None:
        """A leg or a wait is over."""
        if timer.name == "arrive":
            w.state.at = w.state.to
            self.on_arrive(w, w.state.waypoints[w.state.at])
            self._stay(w)
        else:
            self._leave(w)

    def on_combat_start(self, w: Workflow[PatrolState], payload: CombatStart) -> None:
        """Stop where it is; a second fight joins the first."""
        state = w.state
        if w.step == "interrupted":
            return
        running = "arrive" if state.phase == "moving" else "depart"
        state.remaining_us = w.remaining_us(running)
        w.cancel_timer(running)
        w.step = "interrupted"
        self.on_interrupted(w)
        if payload.fight is not None:
            state.fight_id = w.start_child("combat", entity_id=w.entity_id, payload=payload.fight)

    def on_combat_end(self, w: Workflow[PatrolState], payload: NoPayload) -> None:
        """Walk on."""
        self._resume(w)

    def on_child_end(self, w: Workflow[PatrolState], child: ChildEnd) -> None:
        """The fight is over, however it ended."""
        if child.id == w.state.fight_id:
            self._resume(w)

    def on_recover(self, w: Workflow[PatrolState]) -> None:
        """If it has no timer though it should: begin the leg or the wait again."""
        if w.step != "interrupted" and not w.has_timer():
            self._go_on(w, self._whole_us(w.state))

    @staticmethod
    def _check_round(points: list[Waypoint], mode: Mode) -> None:
        """A path that is walked again and again takes its time, on the average of its legs and waits."""
        legs = [p.travel_us for p in (points if mode is Mode.LOOP else points[1:])]
        spans = legs + [p.wait_us for p in points if p.wait_us > 0]
        total, least = sum(spans), max(len(spans), 1) * PERIOD_US_MIN
        if total < least:
            raise SenderError(
                "bad_arguments",
                f"this path takes {total} µs for {len(spans)} legs and waits and would spin; {least} µs is the least",
                parameter="payload",
            )

    # -- legs and waits ------------------------------------------------------------------------

    def _stay(self, w: Workflow[PatrolState]) -> None:
        """Wait at a waypoint, or leave at once if there is no wait."""
        state = w.state
        wait_us = state.waypoints[state.at].wait_us
        if wait_us > 0:
            state.phase = w.step = "waiting"
            w.timer("depart", after_us=wait_us)
        else:
            self._leave(w)

    def _leave(self, w: Workflow[PatrolState]) -> None:
        state = w.state
        following = self._next(state)
        if following is None:
            w.step = "finished"
            w.complete({"outcome": "finished", "place": state.waypoints[state.at].place})
            return
        state.to = following
        state.phase = w.step = "moving"
        w.timer("arrive", after_us=self._whole_us(state))
        self.on_depart(w)

    @staticmethod
    def _next(state: PatrolState) -> int | None:
        """The waypoint after ``at``, turning round where the mode says so; None at the end of the path."""
        count = len(state.waypoints)
        if state.mode is Mode.LOOP:
            return (state.at + 1) % count
        if state.mode is Mode.PING_PONG:
            if not 0 <= state.at + state.direction < count:
                state.direction = -state.direction
            return max(0, min(state.at + state.direction, count - 1))
        return state.at + 1 if state.at + 1 < count else None

    @staticmethod
    def _whole_us(state: PatrolState) -> int:
        """How long the present leg or wait takes from its beginning."""
        if state.phase == "waiting":
            return state.waypoints[state.at].wait_us
        if state.to < state.at and state.mode is Mode.PING_PONG:
            return state.waypoints[state.at].travel_us
        return state.waypoints[state.to].travel_us

    def _resume(self, w: Workflow[PatrolState]) -> None:
        state = w.state
        if w.step != "interrupted":
            return
        left = state.remaining_us
        if left is None or (state.resume is ResumeAt.DEPARTURE and state.phase == "moving"):
            left = self._whole_us(state)
        state.remaining_us = state.fight_id = None
        self._go_on(w, left)
        self.on_resumed(w)

    def _go_on(self, w: Workflow[PatrolState], left_us: int) -> None:
        w.step = w.state.phase
        w.timer("arrive" if w.state.phase == "moving" else "depart", after_us=left_us)
