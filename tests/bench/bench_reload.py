"""Loading a module anew under live workflows: how long the swap holds everything up. In process."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from reactor import Context, Module, days, primary_key
from reactor.assembly import compose
from reactor.reloading import reload
from reactor.testing import Rig
from tests.bench.harness import Plan, median, percentile
from tests.bench.report import Report
from workflows import Handler, Payload, Workflow, WorkflowEngine

_LIVE = 100_000
_BATCH = 5_000
_PAUSE_MS = 100.0


class Start(Payload):
    """How long it waits."""

    wait_us: int = days(30)


class One(msgspec.Struct):
    """A state of version 1."""

    hp: int = 100
    bag: list[int] = []


class Two(msgspec.Struct):
    """A state of version 2."""

    hp_max: int
    hp: int = 100
    bag: list[int] = []


def _type(version: int) -> type[Handler[Any]]:
    class Effect(Handler[One if version == 1 else Two]):  # type: ignore[misc]
        name = "effect"
        clock = "wall"
        state_version = version
        migrations = {1: lambda state: {**state, "hp_max": 100}} if version == 2 else {}
        downgrades = {2: lambda state: {"hp": state["hp"], "bag": state["bag"]}} if version == 2 else {}

        def on_start(self, w: Workflow[Any], payload: Start) -> None:
            w.state = One() if version == 1 else Two(100)
            w.timer("end", after_us=payload.wait_us)

    return Effect


def _module(version: int, *, rows: bool) -> Module:
    """One version of a game; with ``rows``, a table of its own, whose rows get a new class with each reload."""
    game = Module("game", includes=[WorkflowEngine([_type(version)])])
    if rows:

        @game.table()
        class Thing:
            id: int = primary_key(auto=True)
            zone: int
            hp: int = 100

    @game.reducer
    def ping(ctx: Context) -> int:
        return version

    return game


def swap(plan: Plan, report: Report) -> None:
    """The pause of a reload with live workflows: the same version, another one, and with rows of the module's own."""
    count = plan.pick(_LIVE, 5_000)
    report.heading(f"loading a module anew under {count:,} live workflows, in process")
    for name, rows in (("reload: pause", False), ("reload: pause, rows of its own", True)):
        with Rig(_module(1, rows=rows), directory=_made(plan, name)) as rig:
            _fill(rig, count, rows)
            timers = len(rig.rows("workflow_timer"))
            pauses = [_paused(rig, _module(1 + n % 2, rows=rows)) for n in range(1, 2 * plan.rounds + 1)]
            after = len(rig.rows("workflow_timer"))
            pauses.sort()
            worst = percentile(pauses, 1.0)
            report.figure(
                name, f"{median(pauses):.1f} ms", beside=f"worst {worst:.1f} ms of {len(pauses)}",
                wanted=f"≤ {_PAUSE_MS:g} ms", met=worst <= _PAUSE_MS,
            )  # fmt: skip
            report.check(f"{name}: timers as before", after == timers == count, f"{after:,}")


def _made(plan: Plan, name: str) -> Any:
    directory = plan.fresh(name.replace(":", "").replace(",", "").replace(" ", "-"))
    directory.mkdir(parents=True)
    return directory


def _fill(rig: Rig, count: int, rows: bool) -> None:
    def some(ctx: Any) -> None:
        for _ in range(min(_BATCH, count)):
            ctx.workflows.start("effect")
            if rows:
                ctx.db.thing.insert(zone=1)

    for _ in range(0, count, _BATCH):
        rig.run(some)


def _paused(rig: Rig, module: Module) -> float:
    """The pause of one reload, in ms; what it leaves to be done later is done then, and not counted."""
    program = compose(module)
    began = time.perf_counter()
    reload(rig.host, program)
    pause = time.perf_counter() - began
    rig.settle()
    return 1_000 * pause
