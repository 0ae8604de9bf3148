"""Types with start rules, each with one trait."""

from __future__ import annotations

import msgspec

from workflows import Handler, NoPayload, Payload, Timer, Workflow
from workflows.start.options import Concurrency, Exclusive


class Span(Payload):
    """How long it takes, and which of its kind it is."""

    delay_us: int
    slot: str = ""


class SpanState(msgspec.Struct):
    delay_us: int = 0
    began_at: int = 0
    refreshed: int = 0


class Timed(Handler[SpanState]):
    """Waits on the wall and completes; signal ``finish`` ends it before."""

    name = "timed"
    clock = "wall"
    signals = {"finish": NoPayload}

    def on_start(self, w: Workflow[SpanState], payload: Span) -> None:
        if payload.delay_us < 0:
            raise ValueError("a defect")
        w.state = SpanState(payload.delay_us, w.now)
        if payload.delay_us == 0:
            w.complete()
        else:
            w.timer("end", after_us=payload.delay_us)

    def on_timer(self, w: Workflow[SpanState], timer: Timer) -> None:
        w.complete()

    def on_finish(self, w: Workflow[SpanState], payload: NoPayload) -> None:
        w.complete("finished")


class Duel(Timed):
    """One for each entity."""

    name = "duel"
    exclusive = Exclusive()


class Turn(Timed):
    """One for each entity, the others in line."""

    name = "turn"
    exclusive = Exclusive(on_conflict="queue")


class Aura(Timed):
    """One for each entity and slot; another refreshes it."""

    name = "aura"
    exclusive = Exclusive(key=lambda payload: payload.slot, on_conflict="refresh")

    def on_conflict(self, w: Workflow[SpanState], payload: Span) -> None:
        w.state.refreshed += 1
        w.timer("end", after_us=payload.delay_us)


class Bench(Timed):
    """Two at a time for each entity; more are refused."""

    name = "bench"
    concurrency = Concurrency(max=2, key="entity")


class Smelter(Timed):
    """Two at a time in all; more wait."""

    name = "smelter"
    concurrency = Concurrency(max=2, when_full="queue")


class Forge(Timed):
    """One for each entity, and one at a time in all: both lines."""

    name = "forge"
    exclusive = Exclusive(on_conflict="queue")
    concurrency = Concurrency(max=1, when_full="queue")


class Waiter(Handler[SpanState]):
    """Waits for a signal and nothing else."""

    name = "waiter"
    signals = {"finish": NoPayload}

    def on_start(self, w: Workflow[SpanState], payload: NoPayload) -> None:
        w.step = "waiting"

    def on_finish(self, w: Workflow[SpanState], payload: NoPayload) -> None:
        w.complete()


class NestState(msgspec.Struct):
    depth: int


class NestStart(Payload):
    depth: int


class Nest(Handler[NestState]):
    """Starts a child of its own type until it is as deep as told."""

    name = "nest"
    signals = {"stop": NoPayload}

    def on_start(self, w: Workflow[NestState], payload: NestStart) -> None:
        w.state = NestState(payload.depth)
        if payload.depth:
            w.start_child("nest", depth=payload.depth - 1)

    def on_stop(self, w: Workflow[NestState], payload: NoPayload) -> None:
        w.complete()


ALL = (Timed, Duel, Turn, Aura, Bench, Smelter, Forge, Waiter, Nest)
