"""Day and night: one workflow for the whole world, found by its correlation id and stopped on purpose."""

from __future__ import annotations

from workflows import NoPayload, Payload, seconds
from workflows.scripts import Run, script

from .notes import note


class SkyStart(Payload):
    """How long a day and a night are, and how many have been."""

    day_us: int = seconds(20)
    night_us: int = seconds(10)
    days: int = 0


@script(clock="wall", signals={"stop": NoPayload})
async def sky(w: Run, start: SkyStart) -> dict[str, int]:
    """Day, night, and begin anew: the record of one run is one day long."""
    for phase, length_us in (("day", start.day_us), ("night", start.night_us)):
        w.show(phase)
        await w.step(note, phase)
        chosen = await w.select(turn=w.sleep(length_us, name=phase), stop=w.signal("stop"))
        if chosen.name == "stop":
            return {"days": start.days}
    return w.continue_as_new(SkyStart(start.day_us, start.night_us, start.days + 1))
