"""A rehearsal is undone at its end, whether it raises or not, and tells what it would have changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reactor import Module
from reactor.testing import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    module = Module("game")

    @module.table(name="monster")
    class Monster:
        id: int = Module.primary_key(auto=True)
        hp: int

    @module.table(name="zone")
    class Zone:
        id: int = Module.primary_key(auto=True)
        name: str

    with Rig(module) as made:
        made.run(lambda ctx: ctx.db.monster.insert(hp=5) and None)
        yield made


def test_what_is_rehearsed_is_undone(rig: Rig) -> None:
    """Inserts, updates, deletes, and what stands before and after it stays; the call makes one commit."""

    def run(ctx: Any) -> list[str]:
        ctx.db.zone.insert(name="before")
        with ctx.rehearsal() as tried:
            ctx.db.monster.update(1, hp=1)
            ctx.db.monster.insert(hp=9)
            ctx.db.zone.insert(name="inside")
            assert ctx.db.monster.require(1).hp == 1
        assert ctx.db.monster.require(1).hp == 5
        ctx.db.zone.insert(name="after")
        changed: list[str] = tried.changed
        return changed

    assert rig.run(run) == ["monster", "zone"]
    assert [zone.name for zone in rig.rows("zone")] == ["before", "after"]
    assert [monster.hp for monster in rig.rows("monster")] == [5]
    rig.crash()
    rig.reopen()
    assert [zone.name for zone in rig.rows("zone")] == ["before", "after"]


def test_a_rehearsal_that_reads_changes_nothing_and_makes_no_commit(rig: Rig) -> None:
    """Callbacks for undoing run, and an id it took is no change."""
    seq, undone = rig.engine.seq, []

    def run(ctx: Any) -> list[str]:
        with ctx.rehearsal() as tried:
            ctx.on_undo(lambda: undone.append(1))
            ctx.db.zone.reserve_id()
        changed: list[str] = tried.changed
        return changed

    assert rig.run(run) == []
    assert undone == [1]
    assert rig.engine.seq == seq


def test_an_error_inside_goes_on(rig: Rig) -> None:
    """As from a savepoint."""

    def run(ctx: Any) -> None:
        with pytest.raises(ZeroDivisionError), ctx.rehearsal():
            ctx.db.monster.update(1, hp=1)
            raise ZeroDivisionError
        assert ctx.db.monster.require(1).hp == 5

    rig.run(run)
