"""``reactor.lifecycle``: init, start, clients that come and go, upkeep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reactor import Context, Module, Refusal, SenderError, primary_key
from reactor.clock import MINUTE, SECOND
from reactor.engine import Engine
from reactor.system import CONNECTION_TABLE
from reactor.testing import Rig
from tests.reactor.fakes import STRANGER


class Notes:
    """A module that writes down what happens to it."""

    def __init__(self, **trouble: Any) -> None:
        self.trouble = trouble
        self.seen: list[str] = []
        self.rounds = 0
        module = self.module = Module("notes")

        @module.table(public=True)
        class Note:
            id: int = primary_key(auto=True)
            text: str

        @module.init
        def init(ctx: Context) -> None:
            ctx.db.note.insert(text="init")
            self._fail("init")

        @module.on_start
        def start(ctx: Context) -> bool:
            ctx.db.note.insert(text="start")
            self._fail("start")
            self.rounds += 1
            return self.rounds < 3

        @module.before_start
        def check(engine: Engine) -> None:
            self.seen.append(f"check {len(engine.store.tables['note'])}")
            if "check" in self.trouble:
                raise Refusal("unregistered_types", "not like this")

        @module.client_connected
        def came(ctx: Context) -> None:
            ctx.db.note.insert(text=f"came {ctx.sender} {ctx.connection_id}")
            if ctx.sender == self.trouble.get("banned"):
                raise SenderError("forbidden", "you are banned")

        @module.client_disconnected
        def went(ctx: Context) -> None:
            ctx.db.note.insert(text=f"went {ctx.sender}")
            self._fail("went")

    def _fail(self, where: str) -> None:
        if where in self.trouble:
            raise ZeroDivisionError(where)


def _texts(rig: Rig) -> list[str]:
    return [row.text.split()[0] for row in rig.rows("note")]


def test_init_runs_once_and_start_at_every_start() -> None:
    """Init in the first commit; start functions again as long as they ask for it; checks before either."""
    notes = Notes()
    with Rig(notes.module) as rig:
        assert _texts(rig) == ["init", "start", "start", "start"]
        rig.crash()
        rig.reopen()
        assert _texts(rig) == ["init", "start", "start", "start", "start"]
        assert notes.seen == ["check 0", "check 4"]


def test_a_failing_init_stores_nothing(tmp_path: Path) -> None:
    """There is no database; the next start begins anew."""
    with pytest.raises(Refusal) as caught:
        Rig(Notes(init=True).module, directory=tmp_path)
    assert caught.value.code == "module_failed"
    assert "nothing was created" in caught.value.message
    with Rig(Notes().module, directory=tmp_path) as rig:
        assert _texts(rig)[0] == "init"
        assert rig.rows("note")[0].id == 1


def test_a_check_that_says_no_stops_the_start(tmp_path: Path) -> None:
    """P6: before anything is stored, with the module's own words."""
    with pytest.raises(Refusal, match="not like this"):
        Rig(Notes(check=True).module, directory=tmp_path)
    with Rig(Notes().module, directory=tmp_path) as rig:
        assert _texts(rig)[0] == "init"


def test_p7_a_failing_start_function_does_not_stop_the_start() -> None:
    """P7: it is undone and logged."""
    with Rig(Notes(start=True).module) as rig:
        assert _texts(rig) == ["init"]
        assert any("ZeroDivisionError: start" in text for _, _, text in rig.logs)


def test_a112_clients_come_and_go_as_calls() -> None:
    """A112: a presence row appears and goes; both hooks are told who."""
    with Rig(Notes().module) as rig:
        client = rig.connect(STRANGER)
        rows = rig.rows(CONNECTION_TABLE)
        assert [(r.identity, r.connected_at) for r in rows] == [(STRANGER, rig.clock.now())]
        assert client.received[0]["hello"]["connection_id"] == rows[0].connection_id
        assert rig.rows("note")[-1].text == f"came {STRANGER} {rows[0].connection_id}"
        client.disconnect()
        client.disconnect()
        assert rig.rows(CONNECTION_TABLE) == []
        assert [r.text for r in rig.rows("note")[-1:]] == [f"went {STRANGER}"]


def test_a112_a_hook_may_refuse_a_client() -> None:
    """The client is told why and closed; nothing of it stays, and it is not told to have gone."""
    with Rig(Notes(banned=STRANGER).module) as rig:
        client = rig.connect(STRANGER)
        assert client.received == [{"error": {"code": "forbidden", "message": "you are banned"}}]
        assert client.closed == (1008, "forbidden")
        client.disconnect()
        assert rig.rows(CONNECTION_TABLE) == []
        assert "came" not in _texts(rig)
        assert "went" not in _texts(rig)


def test_a112_connections_that_a_crash_cut_off_are_told_at_the_next_start() -> None:
    """Once each, before the start functions."""
    notes = Notes()
    with Rig(notes.module) as rig:
        rig.connect(STRANGER)
        rig.connect("b" * 32)
        rig.crash()
        notes.rounds = 5
        rig.reopen()
        assert [r.text for r in rig.rows("note")][-3:] == [f"went {STRANGER}", f"went {'b' * 32}", "start"]
        assert rig.rows(CONNECTION_TABLE) == []
        rig.stop()
        rig.reopen()
        assert _texts(rig).count("went") == 2


def test_a112_a_stop_leaves_them_to_the_next_start() -> None:
    """Clients that a stop sends away are gone as well."""
    with Rig(Notes().module) as rig:
        rig.connect(STRANGER)
        rig.stop()
        rig.reopen()
        assert _texts(rig).count("went") == 1


def test_p7_a_failing_disconnect_hook_is_undone_and_logged() -> None:
    """P7: the server goes on."""
    with Rig(Notes(went=True).module) as rig:
        rig.connect(STRANGER).disconnect()
        assert "went" not in _texts(rig)
        assert any("ZeroDivisionError: went" in text for _, _, text in rig.logs)
        assert rig.connect("b" * 32).ask(time=1)["ok"]


def test_modules_without_hooks_pay_nothing_for_clients() -> None:
    """P8: no row, no commit."""
    module = Module("quiet")
    with Rig(module) as rig:
        seq = rig.engine.seq
        client = rig.connect(STRANGER)
        client.disconnect()
        assert rig.engine.seq == seq
        assert rig.rows(CONNECTION_TABLE) == []


def _world(rig: Rig) -> int:
    return rig.engine.scopes.value_at("world", rig.clock.now())


def test_the_world_stands_still_while_down() -> None:
    """Every scope goes on from what it showed, also one that runs at another rate or stands."""
    with Rig(Module("quiet")) as rig:
        assert _world(rig) == 0
        rig.advance(MINUTE)
        assert _world(rig) == MINUTE

        def scopes(ctx: Context) -> None:
            ctx.db.clock.insert(scope="fast", anchor_wall=ctx.now, anchor_value=0, rate_ppm=3_000_000)
            ctx.db.clock.insert(scope="still", anchor_wall=ctx.now, anchor_value=77, rate_ppm=0)

        rig.run(scopes)
        rig.advance(SECOND)
        rig.crash()
        rig.advance(10 * MINUTE)
        rig.reopen()
        values = {scope: rig.engine.scopes.value_at(scope, rig.clock.now()) for scope in ("world", "fast", "still")}
        assert values == {"world": MINUTE + SECOND, "fast": 3 * SECOND, "still": 77}
        rig.advance(SECOND)
        assert _world(rig) == MINUTE + 2 * SECOND


def test_a_wall_clock_that_was_set_back_while_down() -> None:
    """The world neither jumps nor runs backwards."""
    with Rig(Module("quiet")) as rig:
        rig.advance(MINUTE)
        rig.crash()
        rig.clock._now -= 10 * MINUTE
        rig.reopen()
        assert _world(rig) == MINUTE
        rig.advance(SECOND)
        assert _world(rig) == MINUTE + SECOND


def test_a_wall_clock_stepped_forward() -> None:
    """Scopes keep their values across the step."""
    with Rig(Module("quiet")) as rig:
        rig.advance(MINUTE)
        rig.clock.advance(10 * MINUTE)
        rig.host.wall_stepped(10 * MINUTE)
        rig.settle()
        assert _world(rig) == MINUTE
