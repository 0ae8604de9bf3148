"""A buff that stacks, can be dispelled and runs out: `select`, and a local variable that survives restarts."""

from __future__ import annotations

from typing import Any

from workflows import NoPayload, Payload
from workflows.scripts import Run, script


class BuffStart(Payload):
    """How long it lasts after the last stack, in µs."""

    duration_us: int = 30_000_000


class Stack(Payload):
    """So many more."""

    count: int = 1


@script(name="stacking_buff", signals={"stack": Stack, "dispel": NoPayload})
async def stacking_buff(w: Run, buff: BuffStart) -> dict[str, Any]:
    """Each stack begins the duration again; the timer that lost is cancelled."""
    stacks = 1
    while True:
        chosen = await w.select(
            expire=w.sleep(buff.duration_us, name="expire"), stack=w.signal("stack"), dispel=w.signal("dispel")
        )
        if chosen.name != "stack":
            return {"outcome": chosen.name, "stacks": stacks}
        stacks += chosen.value.count
