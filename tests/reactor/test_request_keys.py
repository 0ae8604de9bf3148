"""Idempotency keys: the same (caller, key) runs once and answers the same (P5)."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import Context, Module, ReactorError, SenderError
from reactor.limits import DEFAULT_LIMITS
from reactor.messages import Batch, Call, Caller, Reply
from reactor.system import REQUEST_TABLE
from reactor.testing import Rig
from tests.reactor.fakes import STRANGER, Desk, game


def _error(act: Any) -> ReactorError:
    with pytest.raises(ReactorError) as caught:
        act()
    return caught.value


def test_p5_the_same_key_runs_once_and_answers_the_same() -> None:
    """P5: also after a crash; another caller's key is another key."""
    with Rig(game) as rig:
        first = rig.call("spawn", 1, key="k")
        assert rig.call("spawn", 1, key="k") == first
        rig.crash()
        rig.reopen()
        assert rig.call("spawn", 1, key="k") == first
        assert len(rig.rows("monster")) == 1
        assert rig.call("spawn", 1, key="k", sender=STRANGER) != first
        assert rig.call("spawn", 1, key="k2") != first


def test_p5_an_answer_comes_with_its_call_in_one_turn() -> None:
    """P5: both requests in the same turn; the second is answered from the first."""
    desk = Desk()
    caller = Caller(STRANGER)
    turn = desk.engine.turn([Call("spawn", b"[1]", caller, i, "k") for i in range(2)], desk.clock.now())
    assert [(e.token, e.body) for e in turn.effects if isinstance(e, Reply)] == [(0, b"1"), (1, b"1")]
    assert len(turn.commits) == 1


def test_p5_a_senders_error_is_remembered_a_fault_is_not() -> None:
    """P5: what the sender did wrong stays wrong; what we did wrong may be tried again."""
    with Rig(game) as rig:
        for _ in range(2):
            error = _error(lambda: rig.call("half", 5, key="a"))
            assert (error.code, error.message, error.details) == ("sender_error", "not like this", {"hint": 5})
        assert len(rig.rows(REQUEST_TABLE)) == 1
        for _ in range(2):
            assert _error(lambda: rig.call("broken", key="b")).code == "internal"
        assert len(rig.rows(REQUEST_TABLE)) == 1
        rig.crash()
        rig.reopen()
        assert _error(lambda: rig.call("half", 5, key="a")).details == {"hint": 5}


def test_p5_a_key_belongs_to_one_request() -> None:
    """P5: another reducer, other arguments or a batch under the same key are refused."""
    with Rig(game) as rig:
        rig.call("spawn", 1, key="k")
        rig.batch(("spawn", 1), ("spawn", 2), key="b")
        acts: list[Any] = [
            lambda: rig.call("spawn", 2, key="k"),
            lambda: rig.call("ring_in", 1, key="k"),
            lambda: rig.batch(("spawn", 1), key="k"),
            lambda: rig.batch(("spawn", 1), ("spawn", 3), key="b"),
            lambda: rig.call("spawn", 1, key="b"),
        ]
        for act in acts:
            assert _error(act).code == "key_reused"
        assert rig.batch(("spawn", 1), ("spawn", 2), key="b") == [2, 3]
        for key in ("", "x" * 129):
            assert _error(lambda key=key: rig.call("spawn", 1, key=key)).code == "bad_message"


def test_p5_batches_that_read_alike_are_told_apart() -> None:
    """P5: where one call ends and the next begins is part of what a key stands for."""
    module = Module("m")

    @module.reducer
    def a(ctx: Context) -> str:
        return "a"

    @module.reducer
    def b(ctx: Context) -> str:
        return "b"

    @module.reducer
    def ab(ctx: Context) -> str:
        return "ab"

    desk = Desk(module)
    caller = Caller(STRANGER)
    turn = desk.engine.turn(
        [Batch([("a", b""), ("b", b"")], caller, 1, "k"), Batch([("ab", b"")], caller, 2, "k")], desk.clock.now()
    )
    first, second = [e.body for e in turn.effects if isinstance(e, Reply)]
    assert first == b'["a","b"]'
    assert isinstance(second, SenderError)
    assert second.code == "key_reused"


def test_keys_are_forgotten_after_their_retention() -> None:
    """The oldest first, also those from before a restart, and never a young one."""
    with Rig(game) as rig:
        for key in ("z", "m", "a"):
            rig.call("spawn", 1, key=key)
            rig.advance(3_600_000_000)
        rig.crash()
        rig.reopen()
        assert [r.id.split("|")[1] for r in rig.engine.store.tables[REQUEST_TABLE].rows.values()] == ["z", "m", "a"]
        rig.advance((DEFAULT_LIMITS.request_key_retention_s - 3 * 3600) * 1_000_000 + 1)
        rig.host.forget_requests()
        rig.settle()
        assert [r.id.split("|")[1] for r in rig.rows(REQUEST_TABLE)] == ["a", "m"]
