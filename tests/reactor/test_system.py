"""``reactor.system``: the reactor's own tables are ordinary ones."""

from __future__ import annotations

from reactor import Module
from reactor.system import system
from reactor.testing import Rig


def test_the_reactors_own_tables() -> None:
    """They are there for every module; clients may read clocks and nothing else."""
    assert {name: schema.public for name, schema in system.tables.items()} == {
        "reactor_sequence": False,
        "reactor_seed": False,
        "clock": True,
        "reactor_request": False,
        "reactor_connection": False,
        "timer_error": False,
    }
    with Rig(Module("empty")) as rig:
        assert rig.sql("SELECT scope, anchor_value, rate_ppm FROM clock", owner=False) == [["world", 0, 1_000_000]]
        assert rig.sql("SELECT COUNT(*) FROM timer_error") == [[0]]
        clocks = rig.connect("a" * 32).watch("SELECT * FROM clock")
        rig.run(lambda ctx: ctx.db.clock.insert(scope="zone:1", anchor_wall=ctx.now, anchor_value=0) and None)
        assert set(clocks.rows) == {"world", "zone:1"}
