"""Scripts of every shape the benchmarks compare, and a handler that does the same as the smallest of them."""

from __future__ import annotations

from typing import Any

from reactor import Context, Module, days, primary_key
from workflows import Handler, NoPayload, Payload, Timer, Workflow, WorkflowEngine
from workflows.scripts import HistoryBudget, Run, script

WALL = "wall"
EVENTS_MAX = HistoryBudget(events_soft=0, events_max=0, bytes_soft=0, bytes_max=0, open_soft=0, open_max=0)


class NapHandler(Handler[None]):
    """One sleep, as a handler."""

    name = "nap_handler"
    clock = WALL

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
        """Sleep."""
        w.timer("sleep", after_us=days(30))

    def on_timer(self, w: Workflow[None], timer: Timer) -> None:
        """Awake."""
        w.complete("awake")


@script(clock=WALL)
async def nap(w: Run, payload: NoPayload) -> str:
    """One sleep, as a script."""
    await w.sleep(days(30))
    return "awake"


class Shape(Payload):
    """How many steps, and what each of them is given and returns."""

    count: int = 1
    text: str = ""


def step(ctx: Context, number: int, text: str) -> str:
    """A step that changes a row."""
    row = ctx.db.cell.require(number % 64)
    ctx.db.cell.update(row, seen=row.seen + 1)
    return text


@script(clock=WALL)
async def sequential(w: Run, shape: Shape) -> int:
    """One step after the other."""
    for number in range(shape.count):
        await w.step(step, number, shape.text)
    return shape.count


@script(clock=WALL, budget=EVENTS_MAX)
async def parallel(w: Run, shape: Shape) -> int:
    """Side by side, each after a sleep of no time."""

    async def branch(number: int) -> None:
        await w.sleep(0)
        await w.step(step, number, shape.text)

    await w.all(*(branch(number) for number in range(shape.count)))
    return shape.count


class Ping(Payload):
    """Nothing much."""

    number: int = 0


@script(clock=WALL, signals={"ping": Ping}, budget=EVENTS_MAX)
async def listener(w: Run, payload: NoPayload) -> None:
    """Take one signal after the other."""
    while True:
        await w.signal("ping")


ENGINE = WorkflowEngine([NapHandler, nap, sequential, parallel, listener])
scripts = module = Module("scripts", includes=[ENGINE])


@scripts.table(public=True)
class Cell:
    """What steps change."""

    id: int = primary_key()
    seen: int


@scripts.init
def enter(ctx: Context) -> None:
    """Sixty-four cells."""
    for number in range(64):
        ctx.db.cell.insert(id=number, seen=0)


@scripts.reducer
def listen(ctx: Context, count: int) -> list[int]:
    """Start so many listeners; their ids."""
    start: Any = ctx.workflows.start
    return [start("listener", entity_id=number) for number in range(count)]


@scripts.reducer
def forget(ctx: Context, ids: list[int]) -> None:
    """Let the server forget where these scripts stand, so that they must be replayed when they wake."""
    handler: Any = ENGINE.registry.require("listener").handler
    for workflow_id in ids:
        handler.forget(workflow_id)
