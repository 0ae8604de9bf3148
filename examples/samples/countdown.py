"""A countdown: a loop with a wait in it, and a row in a table for each number."""

from __future__ import annotations

from workflows import Payload, seconds
from workflows.scripts import Run, script

from .notes import note


class CountdownStart(Payload):
    """Where to begin."""

    count: int = 3


@script(clock="wall")
async def countdown(w: Run, start: CountdownStart) -> str:
    """Say a number a second, then that it is over. A step runs once, however often the server dies."""
    for number in range(start.count, 0, -1):
        await w.step(note, f"{number}")
        await w.sleep(seconds(1), name="tick")
    await w.step(note, "liftoff")
    return "liftoff"
