"""``reactor.context``: tables, time, chance and identity, from the engine alone."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from reactor import Context, Module, SenderError, primary_key
from reactor.testing import OWNER, Rig
from tests.reactor.fakes import STRANGER, Monster, game


def test_tables_by_name_and_by_class() -> None:
    """Both lead to the same table; a wrong name lists the right ones."""
    with Rig(game) as rig:

        def look(ctx: Context) -> str:
            assert ctx.db[Monster] is ctx.db.monster
            assert ctx.db.monster in list(ctx.db)
            with pytest.raises(AttributeError, match=r"the tables are .*monster"):
                _ = ctx.db.dragon
            return "ok"

        assert rig.run(look) == "ok"


def test_who_and_when() -> None:
    """Identity, ownership, time and the reducer's name."""
    module = Module("m")

    @module.reducer
    def who(ctx: Context) -> list[Any]:
        return [ctx.sender, ctx.is_owner, ctx.is_internal, ctx.connection_id, ctx.now, ctx.real_now, ctx.reducer]

    with Rig(module) as rig:
        now = rig.clock.now()
        assert rig.call("who") == [OWNER, True, False, None, now, now, "who"]
        assert rig.call("who", sender=STRANGER)[:3] == [STRANGER, False, False]
        client = rig.connect(STRANGER)
        answer = client.ask(call="who")["ok"]
        assert answer[0] == STRANGER
        assert answer[3] == client.received[0]["hello"]["connection_id"]
        assert rig.run(lambda ctx: [ctx.sender, ctx.is_internal]) == [None, True]


def _rolls(commits: int) -> list[Any]:
    module = Module("m")

    @module.table()
    class Roll:
        id: int = primary_key(auto=True)
        value: float

    @module.reducer
    def roll(ctx: Context) -> list[Any]:
        ctx.db.roll.insert(value=ctx.random.random())
        return [ctx.random.randint(1, 1_000_000), ctx.new_uuid()]

    with Rig(module) as rig:
        rolled = [rig.call("roll") for _ in range(commits)]
        rig.crash()
        rig.reopen()
        return [*rolled, rig.call("roll")]


def test_req17_chance_can_be_repeated() -> None:
    """REQ-17: the same database at the same commit rolls the same, and different commits roll differently."""
    first, second = _rolls(3), _rolls(3)
    assert first == second
    assert len({tuple(r) for r in first}) == len(first)
    assert uuid.UUID(first[0][1]).version == 4


def test_extensions() -> None:
    """Made once per call when first asked for; an attribute nobody offers is an error of the module."""
    made: list[Context] = []
    module = Module("m")

    def make(ctx: Context) -> list[Context]:
        made.append(ctx)
        return made

    module.extension("tools", make)

    @module.reducer
    def use(ctx: Context) -> bool:
        return ctx.tools is ctx.tools and ctx.tools[-1] is ctx

    @module.reducer
    def misuse(ctx: Context) -> None:
        ctx.tolls()

    with Rig(module) as rig:
        assert rig.call("use") is True
        assert rig.call("use") is True
        assert len(made) == 2
        with pytest.raises(Exception, match="misuse failed"):
            rig.call("misuse")
        assert "no attribute 'tolls'" in rig.logs[-1][2]


def test_log_and_clock_values() -> None:
    """Lines carry the reducer's name; a clock nobody made is named."""
    with Rig(game) as rig:

        def act(ctx: Context) -> int:
            ctx.log("hello", "warning")
            with pytest.raises(SenderError, match="no clock 'zone:1'"):
                ctx.clock_value("zone:1")
            assert ctx.clock_value("wall") == ctx.now
            return ctx.clock_value("world")

        rig.advance(5_000)
        assert rig.run(act) == 5_000
        assert ("warning", "rig", "hello") in rig.logs


def test_savepoints_of_a_reducer() -> None:
    """A part that fails is undone; the rest of the call is kept."""
    with Rig(game) as rig:

        def act(ctx: Context) -> None:
            ctx.db.monster.insert(zone=1)
            with pytest.raises(SenderError), ctx.savepoint():
                ctx.db.monster.insert(zone=2)
                raise SenderError("sender_error", "no")

        rig.run(act)
        assert [m.zone for m in rig.rows("monster")] == [1]


def test_p7_calls_that_write_nothing_have_chance_of_their_own() -> None:
    """A token made by a reading call is not made again for the next caller."""
    with Rig(game) as rig:
        tokens = [rig.run(lambda ctx: ctx.new_uuid()) for _ in range(3)]
        rig.call("spawn", 1)
        tokens.append(rig.run(lambda ctx: ctx.new_uuid()))
        assert len(set(tokens)) == 4


def test_req24_clients_cannot_foresee_chance() -> None:
    """REQ-24: what the next roll is made from is the database's own, stored, and told to no client."""
    with Rig(game) as rig:
        client = rig.connect(STRANGER)
        (seed,) = rig.rows("reactor_seed")
        assert client.ask(subscribe=["SELECT * FROM reactor_seed"])["error"]["code"] == "forbidden"
        assert "error" in client.ask(sql="SELECT value FROM reactor_seed")
        rig.crash()
        rig.reopen()
        assert rig.rows("reactor_seed") == [seed]
