"""``ctx.on_undo``: what a reducer keeps outside the tables follows when a part of its call is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from reactor import Context, Fault, SenderError
from reactor.errors import InvariantError
from reactor.testing import Rig
from tests.reactor.fakes import game


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig(game) as rig:
        yield rig


def _no() -> SenderError:
    return SenderError("sender_error", "no")


def _failing(part: Callable[[Context], object]) -> Callable[[Context], None]:
    """A part of a call that is undone alone."""

    def run(ctx: Context) -> None:
        with pytest.raises(SenderError, match="no"), ctx.savepoint():
            part(ctx)
            raise _no()

    return run


def test_callbacks_run_newest_first_among_the_undone_rows(rig: Rig) -> None:
    """Each finds the tables as they were when it was given."""
    seen: list[tuple[str, int]] = []

    def look(ctx: Context, name: str) -> None:
        seen.append((name, len(ctx.db.monster)))

    def part(ctx: Context) -> None:
        for name in ("first", "second", "third"):
            ctx.on_undo(partial(look, ctx, name))
            ctx.db.monster.insert(zone=1)

    def whole(ctx: Context) -> None:
        _failing(part)(ctx)
        seen.append(("after", len(ctx.db.monster)))

    rig.run(whole)
    assert seen == [("third", 2), ("second", 1), ("first", 0), ("after", 0)]


def test_only_what_is_undone_is_told(rig: Rig) -> None:
    """Not what was before the savepoint, not what is after it, and nothing when the call commits."""
    seen: list[str] = []

    def whole(ctx: Context) -> None:
        ctx.on_undo(lambda: seen.append("before"))
        with ctx.savepoint():
            ctx.on_undo(lambda: seen.append("kept"))
        _failing(lambda ctx: ctx.on_undo(lambda: seen.append("inside")))(ctx)
        ctx.on_undo(lambda: seen.append("after"))

    rig.run(whole)
    assert seen == ["inside"]

    def refused(ctx: Context) -> None:
        whole(ctx)
        raise _no()

    seen.clear()
    with pytest.raises(SenderError):
        rig.run(refused)
    assert seen == ["inside", "after", "kept", "before"]


def test_a_savepoint_inside_one_that_fails_is_undone_with_it(rig: Rig) -> None:
    """Once each, whether the inner one had failed by itself or not."""
    seen: list[str] = []

    def part(ctx: Context) -> None:
        with ctx.savepoint():
            ctx.on_undo(lambda: seen.append("inner"))
        _failing(lambda ctx: ctx.on_undo(lambda: seen.append("failed")))(ctx)

    rig.run(_failing(part))
    assert seen == ["failed", "inner"]


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_callbacks_are_no_changes(rig: Rig, rows: int) -> None:
    """They reach neither the log nor a subscriber; a call that did nothing else makes no commit."""
    watch, seq = rig.subscribe("SELECT * FROM monster"), rig.engine.seq

    def whole(ctx: Context) -> None:
        ctx.on_undo(lambda: None)
        for _ in range(rows):
            ctx.db.monster.insert(zone=1)
            ctx.on_undo(lambda: None)
        _failing(lambda ctx: ctx.on_undo(lambda: None))(ctx)

    rig.run(whole)
    assert rig.engine.seq == seq + bool(rows)
    assert len(watch.rows) == rows
    rig.crash()
    rig.reopen()
    assert len(rig.rows("monster")) == rows


def test_a_callback_that_raises_stops_no_undoing(rig: Rig) -> None:
    """P2: every row goes back, the error is logged, and what may be wrong in memory does not commit."""
    seen: list[str] = []

    def part(ctx: Context) -> None:
        ctx.db.monster.insert(zone=1)
        ctx.on_undo(lambda: seen.append("older"))
        ctx.on_undo(lambda: 1 // 0)
        ctx.db.monster.insert(zone=2)

    def whole(ctx: Context) -> None:
        _failing(part)(ctx)
        assert len(ctx.db.monster) == 0

    with pytest.raises(Fault) as caught:
        rig.run(whole)
    assert (caught.value.code, seen) == ("internal", ["older"])
    assert any("ZeroDivisionError" in text for _, _, text in rig.logs)

    def refused(ctx: Context) -> None:
        part(ctx)
        raise _no()

    with pytest.raises(SenderError, match="no"):
        rig.run(refused)
    # And the next call is as good as any.
    rig.run(lambda ctx: ctx.db.monster.insert(zone=3).id)
    assert [row.zone for row in rig.rows("monster")] == [3]


def test_a_callback_changes_no_table(rig: Rig) -> None:
    """P2: a change made while changes are undone would be in no commit, and is refused."""

    def part(ctx: Context) -> None:
        ctx.on_undo(lambda: ctx.db.monster.insert(zone=9))

    with pytest.raises(Fault):
        rig.run(_failing(part))
    assert rig.rows("monster") == []
    assert any("changed by a callback" in text for _, _, text in rig.logs)


def test_a_callback_belongs_to_a_call(rig: Rig) -> None:
    """There is nothing to undo outside one."""
    kept: list[Any] = []
    rig.run(lambda ctx: kept.append(ctx))
    with pytest.raises(InvariantError, match="outside a reducer call"):
        kept[0].on_undo(lambda: None)
