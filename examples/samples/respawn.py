"""A respawn that nothing can interrupt: it declares no signals, so it refuses them all."""

from __future__ import annotations

from workflows import Payload, seconds
from workflows.scripts import Run, script

from .notes import note


class RespawnStart(Payload):
    """When it comes back, give or take a second of chance."""

    delay_us: int = seconds(30)


@script(name="grave", clock="wall")
async def grave(w: Run, start: RespawnStart) -> int:
    """Wait, and bring the entity back; how long is drawn once and is the same in every replay."""
    await w.sleep(start.delay_us + w.random.randrange(seconds(1)), name="respawn")
    await w.step(note, f"{w.entity_id} is back")
    return w.now
