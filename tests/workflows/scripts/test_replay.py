"""Any script, killed anywhere: what it does and when does not depend on it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactor.context import Context
from reactor.testing import Rig
from tests.workflows.scripts.world import crash, journal, make_rig
from workflows import Payload, seconds
from workflows.scripts import Run, Script


class Plan(Payload):
    """A tree of things to await: ``["sleep", s]``, ``["step", text]``, ``["signal"]``, ``["all", …]``, …"""

    tree: Any


class Ping(Payload):
    """A number."""

    number: int = 0


def write(ctx: Context, text: str) -> str:
    """Add a line to the journal; every third is refused the first time."""
    ctx.db.journal.insert(text=text)
    # Not the row's id: those leave a gap after a crash.
    return f"{len(ctx.db.journal)}:{text}"


class Interpreter(Script):
    """Does what its plan says; what it awaits depends on chance and on what it was told, too."""

    name = "interpreter"
    clock = "wall"
    signals = {"ping": Ping}

    def __init__(self) -> None:
        self.pings = 0

    async def run(self, w: Run, payload: Plan) -> Any:
        """Do it."""
        return await self.do(w, payload.tree)

    async def do(self, w: Run, node: Any) -> Any:
        """One node of the plan."""
        kind, *rest = node
        if kind == "sleep":
            await w.sleep(seconds(rest[0]) + w.random.randrange(3))
            return w.now
        if kind == "step":
            return await w.step(write, rest[0])
        if kind == "signal":
            ping = await w.signal("ping")
            self.pings += 1
            return ping.number
        if kind == "until":
            await w.until(lambda: self.pings >= rest[0], key="pings")
            return self.pings
        if kind == "instant":
            return w.now
        if kind == "fail":
            raise ValueError("as planned")
        if kind == "saga":
            async with w.saga() as saga:
                await saga.step(write, "do", undo=lambda ctx, text: write(ctx, f"undo {text}"))
                return await self.do(w, rest[0])
        if kind == "seq":
            return [await self.do(w, inner) for inner in rest]
        if kind == "all":
            return await w.all(*(self.do(w, inner) for inner in rest))
        chosen = await w.select(**{f"b{at}": self.do(w, inner) for at, inner in enumerate(rest)})
        return [chosen.name, chosen.value]


LEAVES = st.one_of(
    st.tuples(st.just("sleep"), st.integers(0, 4)),
    st.tuples(st.just("step"), st.sampled_from(["a", "b"])),
    st.just(("signal",)),
    st.just(("instant",)),
    st.just(("fail",)),
    st.tuples(st.just("until"), st.integers(0, 2)),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.tuples(st.sampled_from(["seq", "all", "first"]), inner, inner).map(lambda t: (t[0], *t[1:]))
        | st.tuples(st.just("seq"), inner, inner, inner)
        | st.tuples(st.just("saga"), inner)
    ),
    max_leaves=9,
)
ACTS = st.lists(
    st.one_of(st.integers(0, 3), st.sampled_from(["ping", "ping", "crash", "forget", "cancel"])), max_size=14
)


def play(rig: Rig, tree: Any, acts: list[Any], disturbed: bool) -> Any:
    """Run a plan; without the crashes and the forgetting unless ``disturbed``."""
    started = rig.call("workflow_start", "interpreter", None, None, {"tree": tree})
    pings = 0
    for act in acts:
        if act == "ping":
            pings += 1
            if rig.row("workflow", started).status == "Suspended":
                rig.call("workflow_signal", started, "ping", {"number": pings})
        elif act == "cancel":
            if rig.row("workflow", started).status == "Suspended":
                rig.call("workflow_cancel", started, "rain")
        elif act == "crash" and disturbed:
            crash(rig)
        elif act == "forget" and disturbed:
            kind = rig.module.includes[0].registry.get("interpreter")  # type: ignore[attr-defined]
            kind.handler.forget(started)
        elif isinstance(act, int):
            rig.advance(seconds(act))
    row = rig.row("workflow", started)
    pointers = [
        (p.kind, p.step_name, p.status, p.created_no, p.done_no, p.outcome, p.ended_at)
        for p in rig.rows("execution_pointer")
    ]
    return row.status, row.result and json.loads(row.result), row.current_step, row.waits, pointers, journal(rig)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(TREES, ACTS)
def test_crashes_make_no_difference(tree: Any, acts: list[Any]) -> None:
    """A53, A61, A63, C13, C20: tables after any crashes and replays equal those of an uninterrupted run."""
    with make_rig(Interpreter) as calm, make_rig(Interpreter) as rough:
        assert play(rough, tree, acts, True) == play(calm, tree, acts, False)
