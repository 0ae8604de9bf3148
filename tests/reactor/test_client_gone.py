"""``client_gone``: being told of the end of some connections, at no cost for the others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reactor import Context, Module, primary_key
from reactor.system import watch_connection
from reactor.testing import OWNER, Rig


def program(*, greets: bool = False) -> Module:
    """Clients may sign in; who leaves after that is written down."""
    module = Module("lodge")

    @module.table(public=True)
    class Left:
        id: int = primary_key(auto=True)
        who: str
        how: str

    @module.reducer
    def sign_in(ctx: Context) -> None:
        watch_connection(ctx)
        watch_connection(ctx)

    @module.client_gone
    def gone(ctx: Context) -> None:
        ctx.db.left.insert(who=ctx.sender, how="gone")

    if greets:

        @module.client_disconnected
        def went(ctx: Context) -> None:
            ctx.db.left.insert(who=ctx.sender, how="went")

    return module


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig(program()) as made:
        yield made


def test_only_those_that_are_watched_cost_anything(rig: Rig) -> None:
    """P8: a client that nobody watches comes and goes without a commit."""
    seq = rig.engine.seq
    rig.connect("a" * 32).disconnect()
    assert (rig.engine.seq, rig.rows("left")) == (seq, [])
    client = rig.connect("b" * 32)
    client.ask(call="sign_in")
    assert len(rig.rows("reactor_connection")) == 1
    client.disconnect()
    assert [row.who for row in rig.rows("left")] == ["b" * 32]
    assert rig.rows("reactor_connection") == []


def test_a_crash_cuts_them_off_as_well(rig: Rig) -> None:
    """A31: told at the next start, once."""
    rig.connect("b" * 32).ask(call="sign_in")
    for _ in range(2):
        rig.crash()
        rig.reopen()
    assert [row.who for row in rig.rows("left")] == ["b" * 32]


def test_a_call_without_a_connection_watches_nothing(rig: Rig) -> None:
    """A call over HTTP has no end to wait for."""
    rig.call("sign_in", sender=OWNER)
    assert rig.rows("reactor_connection") == []


def test_both_kinds_of_hook_run_for_everybody_together() -> None:
    """Where a module is told of all clients, all are watched; the hooks for all run first."""
    with Rig(program(greets=True)) as rig:
        rig.connect("a" * 32).disconnect()
        assert [row.how for row in rig.rows("left")] == ["went", "gone"]
