"""The types of the guild that contend with each other, and the one that schedules start."""

from __future__ import annotations

import msgspec

from workflows import Concurrency, Exclusive, Handler, Payload, Timer, Workflow

SMELTERS_MAX = 2


class Nothing(msgspec.Struct):
    """Nothing to remember."""


class Span(Payload):
    """How long it takes; ``is_bad``: it fails at its end."""

    lasts_us: int = 1_000_000
    is_bad: bool = False


class _Lasting(Handler[Nothing]):
    clock = "wall"

    def on_start(self, w: Workflow[Nothing], payload: Span) -> None:
        """Take so long."""
        w.timer("bad end" if payload.is_bad else "end", after_us=payload.lasts_us)

    def on_timer(self, w: Workflow[Nothing], timer: Timer) -> None:
        """The end."""
        if timer.name == "end":
            w.complete()
        else:
            w.fail("as it was told to")


class Duel(_Lasting):
    """One at a time for each entity, or for each key that a start brings."""

    name = "duel"
    exclusive = Exclusive()

    def on_conflict(self, w: Workflow[Nothing], payload: Span) -> None:
        """Take longer."""
        w.timer("end", after_us=payload.lasts_us)


class Smelter(_Lasting):
    """So many at a time."""

    name = "smelter"
    concurrency = Concurrency(max=SMELTERS_MAX, when_full="queue")


class Spark(_Lasting):
    """What schedules start."""

    name = "spark"


RIVALS = (Duel, Smelter, Spark)
