"""``reactor.testing``: the rig does what its guide says."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactor.clock import MINUTE, SECOND
from reactor.errors import InvariantError, SenderError
from reactor.testing import Rig
from tests.reactor.fakes import STRANGER, game


def test_nothing_is_left_behind() -> None:
    """Files the rig made are gone; files it was given stay."""
    with Rig(game) as rig:
        made = rig.directory
        assert made.exists()
    assert not made.exists()
    rig.close()


def test_a_given_directory_stays(tmp_path: Path) -> None:
    """And can be opened again by another rig."""
    with Rig(game, directory=tmp_path) as rig:
        rig.call("spawn", 1)
    with Rig(game, directory=tmp_path) as rig:
        assert len(rig.rows("monster")) == 1


def test_reopening_an_open_rig_is_a_mistake() -> None:
    """Crash or stop it first."""
    with Rig(game) as rig, pytest.raises(InvariantError, match="crash or stop"):
        rig.reopen()


def test_time() -> None:
    """Every timer fires at its own instant on the way; a crashed rig only gets older."""
    with Rig(game) as rig:
        start = rig.clock.now()
        rig.call("ring_in", SECOND, SECOND)
        rig.advance(3 * SECOND + 5)
        assert rig.clock.now() == start + 3 * SECOND + 5
        assert len(rig.rows("monster")) == 3
        rig.crash()
        rig.advance(MINUTE)
        assert rig.clock.now() == start + 3 * SECOND + 5 + MINUTE
        assert len(rig.engine.store.tables["monster"]) == 3


def test_watching() -> None:
    """Rows as dicts, events in order, frames as they came; also when a row changes its key."""
    with Rig(game) as rig:
        rig.call("spawn", 1)
        watch = rig.subscribe("SELECT * FROM monster WHERE zone = 1")
        assert watch.rows == {1: {"id": 1, "zone": 1, "hp": 10, "name": None}}
        rig.call("hit", 1, 1)
        rig.call("spawn", 1)
        rig.call("move", 1, 2)
        rig.run(lambda ctx: ctx.db.monster.update(2, id=50) and None)
        kinds = [kind for kind, _ in watch.events]
        assert kinds[:3] == ["update", "insert", "delete"]
        assert sorted(kinds[3:]) == ["delete", "insert"]
        assert list(watch.rows) == [50]
        assert len(watch.frames) == 4


def test_errors_are_raised() -> None:
    """A refused call, subscription or query is an exception of the test."""
    with Rig(game) as rig:
        with pytest.raises(SenderError, match="no row"):
            rig.call("hit", 1, 1)
        with pytest.raises(SenderError, match="nowhere"):
            rig.subscribe("SELECT * FROM nowhere")
        with pytest.raises(SenderError):
            rig.sql("SELEKT")
        with pytest.raises(SenderError, match="private"):
            rig.connect(STRANGER).watch("SELECT * FROM secret")
        assert rig.sql("SELECT COUNT(*) FROM monster WHERE zone = ?", [1]) == [[0]]
        with pytest.raises(LookupError):
            client = rig.connect(STRANGER)
            client.disconnect()
            client.ask(time=1)


def test_run_returns_what_the_function_returns() -> None:
    """Also rows and things no client could be sent."""
    with Rig(game) as rig:
        row = rig.run(lambda ctx: ctx.db.monster.insert(zone=3))
        assert row.zone == 3
        assert rig.row("monster", row.id) == row
        assert rig.row("monster", 99) is None
