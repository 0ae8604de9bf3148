"""A door: if and else round waits, `break` and `continue` out of a loop."""

from __future__ import annotations

from typing import Any

from workflows import Payload, seconds
from workflows.scripts import Run, script

from .notes import note


class Knock(Payload):
    """A try at the lock."""

    code: str


class DoorStart(Payload):
    """What opens it, and whether it creaks for a second first."""

    code: str = "1234"
    creaks: bool = False


@script(clock="wall", signals={"knock": Knock})
async def door(w: Run, start: DoorStart) -> dict[str, Any]:
    """Open at the right code; shut for ten seconds after three wrong ones."""
    wrong = 0
    while True:
        knock = await w.signal("knock")
        if knock.code == start.code:
            break
        wrong += 1
        if wrong % 3:
            continue
        await w.step(note, "locked out")
        await w.sleep(seconds(10), name="lock out")
    if start.creaks:
        await w.sleep(seconds(1), name="creak")
        await w.step(note, "creak")
    return {"outcome": "open", "wrong": wrong}
