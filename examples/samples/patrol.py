"""A patrol for ever: `continue_as_new` keeps its record short, and a fight is a child it waits for."""

from __future__ import annotations

from workflows import NoPayload, Payload, seconds
from workflows.scripts import Run, script

from .notes import note

LAPS_A_RUN = 3


class PatrolStart(Payload):
    """Where it walks, and how many laps it has done."""

    waypoints: list[str]
    laps: int = 0
    pause_us: int = seconds(2)


class Enemy(Payload):
    """Who was seen."""

    entity_id: int


@script(clock="wall")
async def skirmish(w: Run, start: NoPayload) -> str:
    """A fight of three seconds."""
    await w.sleep(seconds(3), name="fight")
    return "won"


@script(clock="wall", signals={"enemy": Enemy, "dismiss": NoPayload})
async def patrol(w: Run, start: PatrolStart) -> dict[str, int]:
    """Walk from waypoint to waypoint; fight who comes, and go on from the same waypoint."""
    laps = start.laps
    while True:
        for waypoint in start.waypoints:
            await w.step(note, f"at {waypoint}")
            chosen = await w.select(
                walk=w.sleep(start.pause_us, name="walk"), enemy=w.signal("enemy"), dismiss=w.signal("dismiss")
            )
            if chosen.name == "dismiss":
                return {"laps": laps}
            if chosen.name == "enemy":
                won = await w.child("skirmish", entity_id=chosen.value.entity_id)
                await w.step(note, f"{won} at {waypoint}")
                await w.sleep(start.pause_us, name="walk")
        laps += 1
        if laps % LAPS_A_RUN == 0:
            w.continue_as_new(PatrolStart(start.waypoints, laps, start.pause_us))
