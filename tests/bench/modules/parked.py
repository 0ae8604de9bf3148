"""The workflow engine with its built-in types, and a table that has nothing to do with it."""

from __future__ import annotations

from typing import Any

from reactor import Context, Module, days, primary_key
from workflows import engine

parked = module = Module("parked", includes=[engine])

EFFECT = "stone skin"


@parked.table(public=True)
class Bystander:
    """A row of the game itself."""

    id: int = primary_key()
    seen: int


@parked.init
def enter(ctx: Context) -> None:
    """One bystander."""
    ctx.db.bystander.insert(id=1, seen=0)


@parked.reducer
def look(ctx: Context) -> None:
    """A call that has nothing to do with workflows: changes one row."""
    row = ctx.db.bystander.require(1)
    ctx.db.bystander.update(row, seen=row.seen + 1)


@parked.reducer
def park(ctx: Context, first_entity: int, count: int) -> int:
    """Start ``count`` buffs that last for days, one for each entity, each with its one timer; how many there are."""
    start: Any = ctx.workflows.start
    for entity in range(first_entity, first_entity + count):
        start("buff", entity_id=entity, payload={"effect": EFFECT, "duration_us": days(30) + entity})
    return len(ctx.db.workflow)


@parked.reducer
def live(ctx: Context) -> int:
    """How many workflows wait for something: each has one timer."""
    return len(ctx.db.workflow_timer)
