"""What a step did through others, or to itself, goes back when the part of it that did so is undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactor import SenderError, milliseconds
from reactor.testing import Rig
from tests.workflows.checks import assert_invariants
from tests.workflows.conftest import MakeRig
from workflows import ChildEnd, Handler, Payload, Status, Timer, Workflow, WorkflowEngine


class Script(Payload):
    """What a ``Scripted`` does, in words; see ``Scripted.perform``."""

    does: list[Any] = []
    fails: bool = False
    ends: bool = False
    root: int = 0
    other: int = 0


class Ping(Payload):
    tag: str


class Notes(msgspec.Struct):
    heard: list[str] = []


def undone(ctx: Any, part: Callable[[], object]) -> None:
    """Do something, and change one's mind."""
    try:
        with ctx.savepoint():
            part()
            raise SenderError("sender_error", "changed my mind")
    except SenderError:
        pass


class Scripted(Handler[Notes]):
    """Does what its payload says, and remembers what it was told."""

    name = "scripted"
    clock = "wall"
    signals = {"run": Script, "ping": Ping}

    def on_start(self, w: Workflow[Notes], payload: Script) -> None:
        w.state = Notes()
        self.on_run(w, payload)

    def on_run(self, w: Workflow[Notes], payload: Script) -> None:
        self.perform(w, payload, payload.does)
        if payload.fails:
            raise SenderError("sender_error", "as told")
        if payload.ends:
            w.complete("done")

    def on_ping(self, w: Workflow[Notes], payload: Ping) -> None:
        w.state.heard.append(payload.tag)

    def on_timer(self, w: Workflow[Notes], timer: Timer) -> None:
        w.state.heard.append(timer.name)

    def on_child_end(self, w: Workflow[Notes], child: ChildEnd) -> None:
        w.state.heard.append(f"child {child.status}")

    def perform(self, w: Workflow[Notes], script: Script, does: list[Any]) -> None:
        for verb, *rest in does:
            if verb == "timer":
                w.timer(rest[0], after_us=rest[1])
            elif verb == "quiet":
                w.cancel_timer(rest[0])
            elif verb == "ping":
                w.workflows.signal(script.root if rest[0] and script.root else w.id, "ping", tag=rest[1])
            elif verb == "note":
                w.event("noted", rest[0])
            elif verb == "part":
                self.part(w, script, *rest)
            else:
                self.others(w, script, verb, *rest)

    def part(self, w: Workflow[Notes], script: Script, does: list[Any], fails: bool, ends: bool) -> None:
        def run() -> None:
            self.perform(w, script, does)
            if fails and ends:
                w.complete("never")

        if fails:
            undone(w.ctx, run)
        else:
            run()

    def others(self, w: Workflow[Notes], script: Script, verb: str, does: list[Any], fails: bool, ends: bool) -> None:
        payload = Script(does, fails, ends, script.root or w.id)
        try:
            if verb == "ask":
                w.workflows.signal(script.other, "run", payload)
            elif verb == "child":
                w.start_child("scripted", payload=payload)
            else:
                w.workflows.start("scripted", payload=payload)
        except SenderError:
            pass


def run(rig: Rig, does: list[Any]) -> list[Any]:
    """What the tables say after the script, ids apart."""
    other = rig.start("scripted")
    root = rig.start("scripted")
    rig.call("workflow_signal", root, "run", {"does": does, "other": other})
    shown = [look(rig)]
    assert_invariants(rig)
    rig.advance(milliseconds(50))
    assert_invariants(rig)
    return [*shown, look(rig)]


def look(rig: Rig) -> list[Any]:
    numbers = {row.id: number for number, row in enumerate(rig.rows("workflow"))}
    left_out = ("id", "name", "root_id", "parent_id", "workflow_id", "scheduled_id", "error_message", "detail", "cause")
    tables: list[Any] = []
    for table in ("workflow", "workflow_timer", "workflow_event"):
        for row in rig.rows(table):
            columns = [getattr(row, f) for f in row.__struct_fields__ if f not in left_out]
            parent = numbers.get(getattr(row, "parent_id", None))
            owner = numbers[row.id if table == "workflow" else row.workflow_id]
            cause = getattr(row, "cause", "")
            note = row.detail if getattr(row, "kind", "") == "noted" else None
            tables.append([table, owner, parent, cause.partition(":")[0], note, *columns])
    return tables


NAMES = st.sampled_from(["a", "b", "c"])
LEAF = st.one_of(
    st.tuples(st.just("timer"), NAMES, st.integers(1, 9).map(milliseconds)),
    st.tuples(st.just("quiet"), NAMES),
    st.tuples(st.just("ping"), st.booleans(), NAMES),
    st.tuples(st.just("note"), NAMES),
)


def _nest(same: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(
        st.sampled_from(["part", "child", "start"]), st.lists(same, max_size=3), st.booleans(), st.booleans()
    )


INNER = st.recursive(LEAF, _nest, max_leaves=8)
DOES = st.lists(
    st.one_of(
        INNER,
        st.tuples(st.just("ask"), st.lists(INNER, max_size=3), st.booleans(), st.just(False)),
        st.tuples(st.just("part"), st.lists(INNER, max_size=3), st.booleans(), st.booleans()),
    ),
    max_size=6,
)


def without_failures(does: list[Any]) -> list[Any]:
    """The script as if what fails in it had never been tried."""
    kept: list[Any] = []
    for act in does:
        if act[0] in ("part", "child", "start", "ask"):
            verb, inner, fails, ends = act
            if not fails:
                kept.append((verb, without_failures(inner), fails, ends))
        else:
            kept.append(act)
    return kept


@given(DOES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_fails_might_as_well_not_have_been_tried(does: list[Any]) -> None:
    """P2, REQ-11: tables, timers and events are those of a run without the parts that were undone."""
    with Rig(WorkflowEngine([Scripted], audit=True)) as tried, Rig(WorkflowEngine([Scripted], audit=True)) as spared:
        assert run(tried, does) == run(spared, without_failures(does))


def test_a_signal_of_a_start_that_is_undone_was_never_sent(make_rig: MakeRig) -> None:
    """P2: the one whose step is open gets what others asked of it, unless their asking was undone."""
    rig = make_rig(Scripted)
    root = rig.start("scripted")
    rig.call("workflow_signal", root, "run", {"does": [["start", [["ping", True, "heard"]], True, False]]})
    assert rig.row("workflow", root).state == '{"heard":[]}'
    rig.call("workflow_signal", root, "run", {"does": [["start", [["ping", True, "heard"]], False, False]]})
    assert rig.row("workflow", root).state == '{"heard":["heard"]}'


def test_the_end_of_a_child_that_never_was_is_not_told(make_rig: MakeRig) -> None:
    """P2: started, ended and taken back inside the parent's own savepoint."""
    rig = make_rig(Scripted)
    root = rig.start("scripted")
    rig.call("workflow_signal", root, "run", {"does": [["part", [["child", [], False, True]], True, False]]})
    assert rig.row("workflow", root).state == '{"heard":[]}'
    assert len(rig.rows("workflow")) == 1


class Cautious(Handler[None]):
    """Arms its only timer, and takes it back; as told by its payload it does so in one of several ways."""

    name = "cautious"
    clock = "wall"

    def on_start(self, w: Workflow[None], payload: Script) -> None:
        if payload.ends:
            undone(w.ctx, lambda: w.complete())
            w.timer("t", after_us=1_000)
        elif payload.fails:
            w.timer("t", after_us=5_000)
            undone(w.ctx, lambda: w.cancel_timer("t"))
            undone(w.ctx, lambda: w.timer("t", after_us=1_000))
            assert w.timer_due("t") == w.now + 5_000
        else:
            undone(w.ctx, lambda: w.timer("t", after_us=1_000))
            assert w.timer_due("t") is None

    def on_timer(self, w: Workflow[None], timer: Timer) -> None:
        w.complete(timer.lateness_us)


def test_a_timer_that_was_taken_back_wakes_nobody(make_rig: MakeRig) -> None:
    """A42: the workflow is seen to be stranded, and told so, instead of waiting for ever."""
    rig = make_rig(Cautious)
    row = rig.row("workflow", rig.start("cautious"))
    assert row.status is Status.FAILED
    assert "left nothing that would wake the workflow" in row.error_message


def test_timers_and_ends_are_as_before_the_part_that_was_undone(make_rig: MakeRig) -> None:
    """A42: cancelled, moved, ended: none of it happened, and the step goes on from where it was."""
    rig = make_rig(Cautious)
    moved = rig.start("cautious", payload={"fails": True})
    ended = rig.start("cautious", payload={"ends": True})
    rig.advance(1_000)
    assert [rig.row("workflow", w).status for w in (moved, ended)] == [Status.SUSPENDED, Status.COMPLETED]
    rig.advance(4_000)
    assert rig.row("workflow", moved).status is Status.COMPLETED
