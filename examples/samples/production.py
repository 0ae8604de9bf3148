"""A workshop that can be paused: what is left of an item's time is kept while it stands still."""

from __future__ import annotations

from typing import Any

from workflows import NoPayload, Payload, seconds
from workflows.scripts import Run, script

from .notes import note


class WorkshopStart(Payload):
    """What to make, and how long each takes."""

    items: list[str]
    each_us: int = seconds(10)


@script(clock="wall", signals={"pause": NoPayload, "resume": NoPayload})
async def workshop(w: Run, start: WorkshopStart) -> dict[str, Any]:
    """Make one after the other; each item's row is written in the commit in which it is done."""
    made = []
    for item in start.items:
        left_us = start.each_us
        while left_us > 0:
            begun_at = w.now
            chosen = await w.select(done=w.sleep(left_us, name="work"), pause=w.signal("pause"))
            left_us -= w.now - begun_at
            if chosen.name == "pause" and left_us > 0:
                w.show("paused")
                await w.signal("resume")
                w.show(None)
        made.append(await w.step(note, f"made {item}"))
    return {"made": len(made)}
