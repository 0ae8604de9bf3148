"""Scripts that the tests run."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from workflows import NoPayload, Payload, seconds
from workflows.scripts import Run, Script, script


class BurnStart(Payload):
    """How long, and how many stacks to begin with."""

    duration_us: int = seconds(10)
    stacks: int = 1


class Stack(Payload):
    """More stacks."""

    count: int = 1


class Burn(Script):
    """A stacking debuff: each stack begins the duration again."""

    name = "burn"
    clock = "wall"
    signals = {"stack": Stack, "dispel": NoPayload}

    async def run(self, w: Run, payload: BurnStart) -> dict[str, Any]:
        """Burn until it expires or is dispelled."""
        stacks = payload.stacks
        while True:
            chosen = await w.select(
                expire=w.sleep(payload.duration_us, name="expire"), stack=w.signal("stack"), dispel=w.signal("dispel")
            )
            if chosen.name == "stack":
                stacks += chosen.value.count
            else:
                return {"outcome": chosen.name, "stacks": stacks}


@script(clock="wall")
async def nap(w: Run, payload: NoPayload) -> str:
    """One sleep."""
    await w.sleep(seconds(5))
    return "awake"


class Tally(Payload):
    """What the counting steps are told."""

    steps: int = 3


def count(ctx: Context, by: int) -> int:
    """Add to the counter in the world."""
    row = ctx.db.counter.get(1)
    if row is None:
        return int(ctx.db.counter.insert(id=1, value=by).value)
    return int(ctx.db.counter.update(1, value=row.value + by).value)


@script(clock="wall")
async def tally(w: Run, payload: Tally) -> list[int]:
    """A step, a second, a step, …"""
    values = []
    for _ in range(payload.steps):
        values.append(await w.step(count, 1))
        await w.sleep(seconds(1))
    return values
