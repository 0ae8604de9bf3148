"""The module of the guild: workflows of both kinds whose every effect is written down, so that a second one shows.

An item that was signalled bumps a ``taken`` row of its token, a task's result one of ``delivered``. ``weather`` makes
steps fail: while it is bad, some handlers and steps raise. ``stock`` counts what sagas hold. The types that contend
with each other are in ``guild_rivals``. There are two versions of the module, of which one replaces the other.
"""

from __future__ import annotations

from typing import Any

import msgspec

from reactor import Context, Module, SenderError, primary_key, seconds
from reactor.schema import declare_table
from tests.simulation.guild_rivals import RIVALS
from workflows import Handler, NoPayload, Payload, TaskEnd, Timer, Workflow, WorkflowEngine
from workflows.groups.part import GroupPart
from workflows.policy import ErrorPolicy, Then
from workflows.scripts import Run, Script, TaskFailedError, script

SECOND = seconds(1)
PATIENT = ErrorPolicy(attempts=2, first_delay_us=SECOND, then=Then.PARK)


class Item(Payload):
    """Something to take, once."""

    token: str


class Errand(Payload):
    """What a job or a trip is about."""

    token: str = ""


def take(ctx: Context, token: str) -> int:
    """Take an item; the count would show a second time."""
    return _bump(ctx.db.taken, token)


def deliver(ctx: Context, token: str) -> int:
    """Write down that the result of a task has come."""
    return _bump(ctx.db.delivered, token)


def hold(ctx: Context, amount: int) -> int:
    """Take so many out of the stock, or bring them back."""
    row = ctx.db.stock.require(1)
    return int(ctx.db.stock.update(row, held=row.held + amount).held)


def fair_weather(ctx: Context) -> None:
    """Raise while the weather is bad."""
    if ctx.db.weather.require(1).is_bad:
        raise RuntimeError("the weather is bad")


def _bump(table: Any, token: str) -> int:
    row = table.get(token)
    if row is None:
        return int(table.insert(token=token).count)
    return int(table.update(row, count=row.count + 1).count)


@script(clock="wall", signals={"item": Item, "stop": NoPayload})
async def sink(w: Run, payload: NoPayload) -> str:
    """Take items one after the other, with naps between, in runs of four."""
    for _ in range(4):
        chosen = await w.select(item=w.signal("item"), stop=w.signal("stop"))
        if chosen.name == "stop":
            return "stopped"
        await w.step(take, chosen.value.token)
        if w.random.random() < 0.5:
            await w.sleep(SECOND * w.random.randrange(3), name="nap")
    return w.continue_as_new()


class BoxState(msgspec.Struct):
    """How many items there are."""

    count: int = 0


class Box(Handler[BoxState]):
    """Takes items at once; in bad weather it fails, is tried again, and is parked."""

    name = "box"
    clock = "wall"
    signals = {"item": Item, "stop": NoPayload, "hello": Item}
    updates = {"mark": Item}
    queries = {"count": NoPayload}
    on_error = PATIENT
    # Of the version after it, so that a restart may step back as well.
    downgrades = {2: lambda state: {"count": state["looks"]}}

    def on_start(self, w: Workflow[BoxState], payload: NoPayload) -> None:
        """Look inside every three seconds."""
        w.timer("look", interval_us=3 * SECOND)

    def on_timer(self, w: Workflow[BoxState], timer: Timer) -> None:
        """Count."""
        w.state.count += 1 + timer.missed

    def on_item(self, w: Workflow[BoxState], item: Item) -> None:
        """Take it, and look at the sky."""
        take(w.ctx, item.token)
        fair_weather(w.ctx)

    def on_stop(self, w: Workflow[BoxState], payload: NoPayload) -> None:
        """Enough."""
        w.complete({"count": w.state.count})

    def on_hello(self, w: Workflow[BoxState], item: Item) -> None:
        """Greet back, each greeting of a group once."""
        _bump(w.ctx.db.greeted, f"{item.token} {w.id}")

    def validate_mark(self, w: Workflow[BoxState], item: Item) -> None:
        """Some are not welcome."""
        if item.token.endswith("7"):
            raise SenderError("sender_error", "no sevens")

    def update_mark(self, w: Workflow[BoxState], item: Item) -> int:
        """Write it down, and say how often that was done."""
        return _bump(w.ctx.db.updated, item.token)

    def query_count(self, w: Workflow[BoxState], payload: NoPayload) -> int:
        """How many there are."""
        return w.state.count


class WideState(msgspec.Struct):
    """The same under another name."""

    looks: int = 0


class WideBox(Handler[WideState]):
    """The next version of ``Box``: what it knows has another shape."""

    name = "box"
    clock = "wall"
    signals = Box.signals
    updates = Box.updates
    queries = Box.queries
    on_error = PATIENT
    state_version = 2
    migrations = {1: lambda state: {"looks": state["count"]}}
    downgrades = Box.downgrades
    on_item, on_hello, validate_mark, update_mark = Box.on_item, Box.on_hello, Box.validate_mark, Box.update_mark

    def on_start(self, w: Workflow[WideState], payload: NoPayload) -> None:
        """Look inside every two seconds."""
        w.timer("look", interval_us=2 * SECOND)

    def on_timer(self, w: Workflow[WideState], timer: Timer) -> None:
        """Count."""
        w.state.looks += 1 + timer.missed

    def on_stop(self, w: Workflow[WideState], payload: NoPayload) -> None:
        """Enough."""
        w.complete({"count": w.state.looks})

    def query_count(self, w: Workflow[WideState], payload: NoPayload) -> int:
        """How many there are."""
        return w.state.looks


class Stall(Script):
    """Takes marks by updates until there are three, or for a while."""

    name = "stall"
    clock = "wall"
    updates = {"mark": Item}
    queries = {"count": NoPayload}

    def __init__(self) -> None:
        self.marks: list[str] = []

    async def run(self, w: Run, payload: NoPayload) -> list[str]:
        """Wait for the third."""
        await w.select(full=w.until(lambda: len(self.marks) >= 3, key="three"), late=w.sleep(30 * SECOND))
        return self.marks

    def update_mark(self, w: Run, item: Item) -> int:
        """One more."""
        self.marks.append(item.token)
        return len(self.marks)

    def query_count(self, w: Run, payload: NoPayload) -> int:
        """How many there are."""
        return len(self.marks)


@script(clock="wall")
async def job(w: Run, errand: Errand) -> str:
    """Have something forged by a worker, or give up after a while."""
    try:
        chosen = await w.select(done=w.task("forge", errand.token, errand.token), late=w.sleep(20 * SECOND))
    except TaskFailedError as error:
        return error.status
    if chosen.name == "done":
        await w.step(deliver, errand.token)
    return str(chosen.name)


class Carrier(Handler[BoxState]):
    """Asks for a task and counts its result."""

    name = "carrier"
    clock = "wall"

    def on_start(self, w: Workflow[BoxState], payload: Errand) -> None:
        """Ask."""
        w.ctx.tasks.put("forge", payload.token, payload.token, workflow_id=w.id)

    def on_task_end(self, w: Workflow[BoxState], task: TaskEnd) -> None:
        """Count it if it was done."""
        if task.status == "completed":
            deliver(w.ctx, task.name)
        w.complete(task.status)


@script(clock="wall", step_policy=ErrorPolicy(attempts=1))
async def trip(w: Run, errand: Errand) -> str:
    """Hold three things, wait, and hope for the weather; a failure gives them back."""
    async with w.saga(ErrorPolicy(attempts=50, first_delay_us=SECOND, max_delay_us=2 * SECOND)) as saga:
        for amount in (1, 2, 4):
            await saga.step(hold, amount, undo=lambda ctx, amount: hold(ctx, -amount), name=f"hold {amount}")
            await w.sleep(SECOND)
        await w.step(fair_weather)
    await w.step(hold, -7, name="use")
    return "arrived"


@script(clock="wall")
async def bell(w: Run, errand: Errand) -> Any:
    """Wait for a bell, with two children beside."""
    return await w.all(w.event("bell", errand.token), w.child("job", payload={"token": f"{w.id}a"}))


class Bumped:
    """How often something was done."""

    token: str = primary_key()
    count: int = 1


ONCE = ("taken", "delivered", "updated", "greeted")
"""Tables of what must not be done twice."""
TYPES = (sink, Box, Stall, job, Carrier, trip, bell, *RIVALS)
NEXT_TYPES = tuple(WideBox if kind is Box else kind for kind in TYPES)


def make_guild(version: int = 1) -> Module:
    """A fresh module of version 1 or 2; each simulated program has its own."""
    engine = WorkflowEngine(TYPES if version == 1 else NEXT_TYPES, audit=True, attributes={"zone": int})
    engine.part(GroupPart).operations.at_once_max = 3
    guild = Module("guild", includes=[engine])

    @engine.command("announce")
    def announce(ctx: Context, data: Any) -> None:
        """Run once for each time it was new; in bad weather later."""
        _bump(ctx.db.announced, data["token"])
        fair_weather(ctx)

    _add_tables(guild)
    _add_reducers(guild)
    return guild


def _add_tables(guild: Module) -> None:
    for name in (*ONCE, "announced"):
        guild.add_table(declare_table(Bumped, name=name, public=True))

    @guild.table()
    class Chimed:
        id: int = primary_key(auto=True)
        schedule: str

    @guild.table()
    class Weather:
        id: int = primary_key()
        is_bad: bool = False

    @guild.table()
    class Stock:
        id: int = primary_key()
        held: int = 0


def _add_reducers(guild: Module) -> None:
    @guild.init
    def fill(ctx: Context) -> None:
        ctx.db.weather.insert(id=1)
        ctx.db.stock.insert(id=1)

    @guild.reducer
    def turn_weather(ctx: Context, is_bad: bool) -> None:
        ctx.db.weather.update(1, is_bad=is_bad)

    @guild.reducer
    def chime(ctx: Context, schedule: str) -> None:
        ctx.db.chimed.insert(schedule=schedule)

    @guild.reducer
    def clean(ctx: Context, ids: list[int]) -> None:
        for message_id in ids:
            ctx.db.workflow_message.delete(message_id)

    @guild.reducer
    def retry_all(ctx: Context) -> int:
        faulted = [row.id for row in ctx.db.workflow if row.status == "Faulted"]
        for workflow_id in faulted:
            ctx.workflows.retry(workflow_id)
        if not faulted:
            raise SenderError("sender_error", "nobody needs it")
        return len(faulted)
