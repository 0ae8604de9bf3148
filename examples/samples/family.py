"""Parents and children: a raid starts three scouts and goes on when all are back, or the first has failed."""

from __future__ import annotations

from typing import Any

from workflows import NoPayload, Payload, seconds
from workflows.scripts import ChildFailedError, Run, script


class ScoutStart(Payload):
    """How far it is, and whether there is an ambush."""

    distance_s: int = 1
    ambush: bool = False


@script(clock="wall")
async def scout(w: Run, start: ScoutStart) -> dict[str, Any]:
    """Go there and come back."""
    await w.sleep(seconds(start.distance_s), name="walk")
    if start.ambush:
        raise RuntimeError("ambushed")
    return {"entity": w.entity_id, "seen": w.random.randrange(100)}


class RaidStart(Payload):
    """Who is sent out, and who of them walks into the ambush."""

    scouts: list[int]
    ambushed: int | None = None


@script(clock="wall", signals={"retreat": NoPayload})
async def raid(w: Run, start: RaidStart) -> dict[str, Any]:
    """Wait for all scouts at once; one that fails calls the others back."""
    errands = [
        w.child("scout", entity_id=entity, payload={"distance_s": 1 + at, "ambush": entity == start.ambushed})
        for at, entity in enumerate(start.scouts)
    ]
    try:
        reports = await w.all(*errands)
    except ChildFailedError as error:
        return {"outcome": "retreat", "why": error.status}
    return {"outcome": "attack", "scouts": [report["entity"] for report in reports]}
