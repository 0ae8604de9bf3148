"""``reactor.engine``: each call alone and whole, answers that are kept, and errors that harm only themselves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import Context, Fault, Module, ReactorError, SenderError, Table, primary_key
from reactor.columns import I256, Json, Timestamp
from reactor.limits import DEFAULT_LIMITS
from reactor.messages import SYSTEM, Batch, Call, Caller, Deltas, Inspect, Reply, Task
from reactor.results import encode_result
from reactor.testing import OWNER, Rig
from tests.reactor.fakes import STRANGER, Desk, FakeGuard, game


def _error(act: Any) -> ReactorError:
    with pytest.raises(ReactorError) as caught:
        act()
    return caught.value


# -- calls -----------------------------------------------------------------------------------------


def test_a47_an_error_undoes_exactly_that_call() -> None:
    """A47: fail after two writes: neither is seen, no commit, no delta; the calls around it stand."""
    with Rig(game) as rig:
        watch = rig.subscribe("SELECT * FROM monster")
        rig.call("spawn", 1)
        before = rig.engine.seq
        error = _error(lambda: rig.call("half", 5))
        assert (error.code, error.message, error.details) == ("sender_error", "not like this", {"hint": 5})
        assert rig.engine.seq == before
        assert [m.zone for m in rig.rows("monster")] == [1]
        assert rig.rows("zone") == []
        assert len(watch.frames) == 1
        rig.call("spawn", 2)
        assert [r["zone"] for r in watch.rows.values()] == [1, 2]


def test_a48_a_bug_is_ours_and_its_details_stay_in_the_log() -> None:
    """A48: the sender learns that it was not their mistake, the log has the traceback."""
    with Rig(game) as rig:
        error = _error(lambda: rig.call("broken"))
        assert isinstance(error, Fault)
        assert error.code == "internal"
        assert "secret details" not in str(error.to_json())
        assert rig.rows("monster") == []
        level, logger, text = rig.logs[-1]
        assert (level, logger) == ("error", "broken")
        assert "ZeroDivisionError: secret details" in text
        assert "Traceback" in text
        mine = _error(lambda: rig.call("hit", 99, 1))
        assert isinstance(mine, SenderError)
        assert mine.code == "not_found"


def test_admission() -> None:
    """Unknown names, private reducers, and the scheduler's own (A88)."""
    module = Module("m", includes=[game])

    @module.reducer(access="owner")
    def wipe(ctx: Context) -> str:
        return "wiped"

    @module.reducer(access="internal")
    def inner(ctx: Context) -> None: ...

    with Rig(module) as rig:
        assert _error(lambda: rig.call("nope")).code == "unknown_reducer"
        assert rig.call("wipe") == "wiped"
        assert _error(lambda: rig.call("wipe", sender=STRANGER)).code == "forbidden"
        for sender in (OWNER, STRANGER):
            assert _error(lambda sender=sender: rig.call("inner", sender=sender)).code == "forbidden"
        bell = rig.call("ring_in", 10_000_000)
        row = list(msgspec.structs.astuple(rig.row("bell", bell)))
        assert _error(lambda: rig.call("ring", row)).code == "forbidden"
        assert _error(lambda: rig.batch(("spawn", 1), ("ring", row))).details["index"] == 1
        assert rig.rows("monster") == []


def test_results() -> None:
    """JSON values, rows as objects, wide integers as text; what is no JSON undoes the call."""
    module = Module("m")

    @module.table()
    class Thing:
        id: int = primary_key(auto=True)
        big: I256 = 0
        state: Json = 0

    @module.reducer
    def make(ctx: Context, what: int) -> Any:
        row = ctx.db.thing.insert(big=-(1 << 200), state=[1])
        return [row, {"rows": [row]}, b"\xff", object(), {1, 2}, 1 << 100, {1: 2}, lambda: 1, float("nan")][what]

    shown = {"id": 1, "big": str(-(1 << 200)), "state": [1]}
    with Rig(module) as rig:
        assert rig.call("make", 0) == shown
        assert rig.call("make", 1)["rows"][0]["big"] == shown["big"]
        assert rig.call("make", 2) == "/w=="
        assert rig.call("make", 4) == [1, 2]
        assert rig.call("make", 8) is None
        count = len(rig.rows("thing"))
        for what in (3, 5, 6, 7):
            error = _error(lambda what=what: rig.call("make", what))
            assert error.code == "bad_result"
        assert len(rig.rows("thing")) == count
        deep: list[Any] = []
        for _ in range(2000):
            deep = [deep]
        assert _error(lambda: encode_result(deep, "make")).code == "bad_result"


class _Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("even this")


class _Base(BaseException):
    """As libraries raise to get past ``except Exception``."""


_HOSTILE: dict[str, Any] = {
    "unprintable": _Unprintable,
    "surrogates": lambda: ValueError("\ud800"),
    "sender surrogates": lambda: SenderError("sender_error", "\ud800", detail="\udfff"),
    "no json": lambda: SenderError("sender_error", "x", detail={1: object()}),
    "exit": lambda: SystemExit(3),
    "generator exit": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "base": _Base,
    "memory": MemoryError,
    "unknown code": lambda: SenderError("my_own_code", "x"),
}


@pytest.mark.parametrize("kind", _HOSTILE)
@pytest.mark.parametrize("keyed", [False, True])
def test_p7_whatever_a_reducer_raises_harms_its_own_call_alone(kind: str, keyed: bool) -> None:
    """P7: the caller is answered, nothing stays behind, and the next call runs, also from a timer."""
    module = Module("m")

    @module.table()
    class Thing:
        id: int = primary_key(auto=True)

    @module.table(scheduled="fire")
    class Tick:
        scheduled_id: int = primary_key(auto=True)
        scheduled_at: Timestamp

    @module.reducer
    def bad(ctx: Context) -> None:
        ctx.db.thing.insert()
        raise _HOSTILE[kind]()

    @module.reducer
    def fire(ctx: Context, tick: Tick) -> None:
        bad(ctx)

    with Rig(module) as rig:
        client = rig.connect(STRANGER)
        answer = client.ask(call="bad", **({"key": "k"} if keyed else {}))
        assert answer["error"]["code"] in ("internal", "sender_error")
        assert client.ask(batch=[{"call": "bad"}])["error"]["index"] == 0
        rig.run(lambda ctx: ctx.db.tick.insert(scheduled_at=ctx.now + 5))
        rig.advance(10)
        assert rig.rows("tick") == []
        assert len(rig.rows("timer_error")) == 1
        assert rig.rows("thing") == []
        assert client.ask(time=1)["ok"]["echo"] == 1


def test_p7_a_reducer_that_recurses_without_end() -> None:
    """P7: wherever in the tables the stack runs out, undo puts everything back, indexes included."""
    module = Module("m", includes=[game])

    @module.reducer
    def dig(ctx: Context, shift: int) -> None:
        def deeper(row: Any) -> None:
            made = ctx.db.monster.insert(zone=shift, hp=row.hp + 1, name=f"n{row.hp}")
            ctx.db.monster.update(row, zone=shift + 1)
            ctx.db.monster.delete(row)
            deeper(made)

        def padded(depth: int) -> None:
            if depth:
                padded(depth - 1)
            else:
                deeper(ctx.db.monster.require(1))

        padded(shift)

    with Rig(module) as rig:
        rig.call("spawn", 7)
        table: Table[Any] = rig.engine.store.tables["monster"]
        before = [sorted(index.items()) for index in table.index_list]
        for shift in range(12):
            assert _error(lambda shift=shift: rig.call("dig", shift)).code == "internal"
            assert [sorted(index.items()) for index in table.index_list] == before
        assert [m.zone for m in rig.rows("monster")] == [7]
        rig.call("hit", 1, 100)
        assert rig.rows("monster") == []


@pytest.mark.parametrize("savepoints", [False, True])
@pytest.mark.parametrize("catches", [False, True])
def test_p7_a_change_broken_off_half_way_cannot_stand(savepoints: bool, catches: bool) -> None:
    """P7: also when a reducer hides that the stack ran out in the middle of a change or of undoing one."""
    module = Module("m", includes=[game])

    @module.reducer
    def dig(ctx: Context, shift: int) -> None:
        def deeper(n: int) -> None:
            with ctx.savepoint() if savepoints else contextlib.nullcontext():
                ctx.db.monster.insert(zone=n, hp=n, name=f"n{n}")
                ctx.db.monster.update(1, zone=n)
                deeper(n + 1)

        def padded(depth: int) -> None:
            if depth:
                padded(depth - 1)
                return
            try:
                deeper(0)
            except RecursionError:
                if not catches:
                    raise

        padded(shift)

    with Rig(module) as rig:
        rig.call("spawn", 7)
        table: Table[Any] = rig.engine.store.tables["monster"]
        for shift in range(20):
            client = rig.connect(STRANGER)
            answer = client.ask(call="dig", args=[shift])
            assert catches or answer["error"]["code"] == "internal"
            kept = {row.id: row for row in table}
            for each in table.index_list:
                assert {key for _, key in each.items()} <= set(kept)
            rig.crash()
            rig.reopen()
            table = rig.engine.store.tables["monster"]
            assert {row.id: row for row in table} == kept, "memory is what the log says"
            rig.run(lambda ctx: [ctx.db.monster.delete(row) for row in ctx.db.monster if row.id != 1] and None)


def test_budget_is_per_call_and_undoes_it() -> None:
    """A reducer past its budget is undone like any other failure, and told apart from it."""
    guard = FakeGuard()
    module = Module("m", includes=[game])

    @module.reducer
    def slow(ctx: Context) -> None:
        try:
            ctx.db.monster.insert(zone=1)
            guard.bite()
        except Exception as error:
            raise AssertionError("no `except Exception` hides it") from error

    with Rig(module, guard=guard) as rig:
        guard.log.clear()
        error = _error(lambda: rig.call("slow"))
        assert error.code == "budget_exceeded"
        assert rig.rows("monster") == []
        assert guard.log[:2] == ["arm", f"enter {DEFAULT_LIMITS.call_budget_s}"]
        assert guard.log[2] == "leave"
        assert "disarm" in guard.log
        assert _error(lambda: rig.batch(("spawn", 1), ("slow",))).code == "budget_exceeded"
        assert rig.rows("monster") == []
        assert rig.call("spawn", 1) > 0


# -- batches ---------------------------------------------------------------------------------------


def test_a51_a_batch_is_one_commit_or_none() -> None:
    """A51: 1,000 calls are one commit and one frame; one bad item rolls all back and is named."""
    with Rig(game) as rig:
        watch = rig.subscribe("SELECT * FROM monster")
        before = rig.engine.seq
        assert rig.batch(*[("spawn", i) for i in range(1000)]) == list(range(1, 1001))
        assert rig.engine.seq == before + 1
        assert len(watch.frames) == 1
        assert len(watch.rows) == 1000
        calls: list[tuple[Any, ...]] = [("spawn", 1), ("spawn", 2), ("half", 3), ("spawn", 4)]
        error = _error(lambda: rig.batch(*calls))
        assert (error.code, error.details) == ("sender_error", {"hint": 3, "index": 2})
        assert _error(lambda: rig.batch(("spawn", 1), ("broken",))).details == {"index": 1}
        assert _error(lambda: rig.batch(("spawn", 1), ("spawn", "x"))).details["index"] == 1
        assert _error(lambda: rig.batch(("spawn", 1), ("nope",))).details["index"] == 1
        assert len(rig.rows("monster")) == 1000
        assert rig.engine.seq == before + 1


# -- turns -----------------------------------------------------------------------------------------


def test_a_turn_is_one_group_in_order() -> None:
    """Effects in the order of the requests; each reply with the seq it reflects; deltas before their reply."""
    desk = Desk()
    first = desk.engine.seq + 1
    query = desk.host.publisher._parse("SELECT * FROM monster")
    desk.engine.subscriptions.open(query)
    caller = Caller(STRANGER)
    turn = desk.engine.turn(
        [
            Call("spawn", b"[1]", caller, "a"),
            Call("half", b"[1]", caller, "b"),
            Inspect(lambda: b"look", "c"),
            Task("t", lambda ctx: ctx.db.zone.insert(id=1), SYSTEM, "d"),
        ],
        desk.clock.now() + 5,
    )
    kinds = [(type(e).__name__, getattr(e, "token", None), e.seq - first) for e in turn.effects]
    assert kinds == [("Deltas", None, 0), ("Reply", "a", 0), ("Reply", "b", 0), ("Reply", "c", 0), ("Reply", "d", 1)]
    assert (turn.first_seq, turn.last_seq) == (first, first + 1)
    records = msgspec.msgpack.decode(turn.payload)
    assert [(r[0], r[1], r[2], r[3], r[4]) for r in records] == [
        (first, desk.clock.now() + 5, "spawn", STRANGER, None),
        (first + 1, desk.clock.now() + 5, "t", None, None),
    ]
    assert [e.at for e in turn.effects if isinstance(e, Deltas)] == [desk.clock.now() + 5]
    empty = desk.engine.turn([], desk.clock.now())
    assert (empty.payload, empty.effects, empty.commits) == (b"", [], [])


def test_p7_an_inspection_that_fails_is_answered() -> None:
    """P7: an error nobody foresaw, outside any reducer, is an answer and not the end."""
    desk = Desk()

    def fail() -> bytes:
        raise KeyError("unforeseen")

    turn = desk.engine.turn([Inspect(fail, 1), Inspect(lambda: b"1", 2)], desk.clock.now())
    first, second = turn.effects
    assert isinstance(first, Reply)
    assert isinstance(first.body, Fault)
    assert first.body.code == "internal"
    assert isinstance(second, Reply)
    assert second.body == b"1"


def test_halted_refuses_whoever_would_write() -> None:
    """P6: reads go on; calls, batches and the reactor's own tasks are refused, timers wait."""
    desk = Desk()
    caller = Caller(STRANGER)
    desk.engine.turn([Call("ring_in", b"[1]", caller)], desk.clock.now())
    desk.engine.halted = "the disk is full"
    seq = desk.engine.seq
    turn = desk.engine.turn(
        [
            Call("spawn", b"[1]", caller, 1),
            Batch([("spawn", b"[1]")], caller, 2),
            Task("t", lambda ctx: ctx.db.zone.insert(id=1), SYSTEM, 3),
            Call("spawn", b"[1]", SYSTEM, 4),
            Inspect(lambda: b"1", 5),
        ],
        desk.clock.now() + 10,
    )
    bodies = [e.body for e in turn.effects if isinstance(e, Reply)]
    assert [b.code for b in bodies[:4] if isinstance(b, ReactorError)] == ["read_only"] * 4
    assert bodies[4] == b"1"
    assert desk.engine.seq == seq
    assert desk.engine.next_due() is None
    desk.engine.halted = None
    assert len(desk.engine.turn([], desk.clock.now() + 10).commits) == 1


_op = st.one_of(
    st.tuples(st.just("spawn"), st.integers(0, 2)),
    st.tuples(st.just("hit"), st.integers(1, 6), st.integers(1, 12)),
    st.tuples(st.just("move"), st.integers(1, 6), st.integers(0, 2)),
    st.tuples(st.just("half"), st.integers(0, 2)),
    st.tuples(st.just("broken")),
    st.tuples(st.just("ring_in"), st.integers(0, 3), st.integers(0, 2)),
)


@given(st.lists(st.lists(_op, max_size=4), max_size=8), st.integers(0, 8))
def test_p6_undoing_commits_is_exact(turns: list[list[tuple[Any, ...]]], keep: int) -> None:
    """P6: tables, indexes, timers and subscriptions after taking commits back are those after the last one kept."""
    desk = Desk()
    query = desk.host.publisher._parse("SELECT m.* FROM monster m JOIN zone z ON m.zone = z.id WHERE z.open = true")
    active = desk.engine.subscriptions.open(query)
    states: list[tuple[Any, list[Any]]] = [(_state(desk, active), [])]
    pending: list[Any] = []
    for i, ops in enumerate(turns):
        calls = [Call(str(op[0]), orjson.dumps(op[1:]), Caller(STRANGER)) for op in ops]
        turn = desk.engine.turn(calls, desk.clock.now() + i)
        pending += turn.commits
        states.append((_state(desk, active), list(pending)))
    state, kept = states[min(keep, len(states) - 1)]
    desk.engine.undo(pending[len(kept) :])
    assert _state(desk, active) == state


def _state(desk: Desk, active: Any) -> Any:
    tables = {
        table.name: (list(table), [sorted(map(repr, index.items())) for index in table.index_list])
        for table in desk.engine.store
    }
    return desk.engine.seq, tables, desk.engine.timers.pending(), desk.engine.subscriptions.snapshot(active)


def test_counters() -> None:
    """What metrics read."""
    with Rig(game, limits=dataclasses.replace(DEFAULT_LIMITS, timer_errors_max=5)) as rig:
        counters = rig.engine.counters
        calls, commits = counters.calls, counters.commits
        rig.call("spawn", 1)
        _error(lambda: rig.call("half", 1))
        _error(lambda: rig.call("nope"))
        assert (counters.calls - calls, counters.commits - commits, counters.failed) == (3, 1, 2)
