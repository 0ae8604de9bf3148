"""``reactor.host``: nothing leaves before it is durable, and what cannot be stored is taken back (P1, P6)."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import pytest

from reactor import Context, Module
from reactor.errors import Fault, ReactorError
from reactor.limits import DEFAULT_LIMITS
from reactor.messages import Call, Caller, Inspect
from reactor.scopes import WORLD
from reactor.system import CONNECTION_TABLE
from reactor.testing import OWNER, Rig, RigClient
from tests.reactor.fakes import STRANGER, Desk, game

SECOND = 1_000_000


def _codes(received: list[Any]) -> list[Any]:
    return [m["error"]["code"] if "error" in m else "ok" if "ok" in m else "frame" for m in received]


# -- durable answers -------------------------------------------------------------------------------


def test_p1_nothing_leaves_before_the_sync() -> None:
    """P1: neither the answer nor the delta, nor an answer that shows what is not yet durable."""
    desk = Desk()
    client, other = desk.connect(STRANGER), desk.connect(STRANGER)
    client.send({"id": 0, "subscribe": ["SELECT * FROM monster"]})
    desk.settle()
    client.received.clear()
    client.send({"id": 1, "call": "spawn", "args": [1]})
    desk.settle()
    other.send({"id": 2, "subscribe": ["SELECT * FROM monster"]})
    other.send({"id": 3, "call": "hit", "args": [99, 1]})
    other.send({"id": 4, "time": 1})
    desk.settle()
    assert client.received == []
    assert other.received == []
    desk.storage.sync()
    assert _codes(client.received) == ["frame", "ok"]
    assert _codes(other.received) == ["ok", "not_found", "ok"]
    assert all(m.get("seq", desk.engine.seq) == desk.engine.seq for m in client.received + other.received)


def test_groups_are_synced_while_the_next_is_collected() -> None:
    """Group commit: two are under way, later turns gather into one; each answer leaves with its own group."""
    desk = Desk()
    client = desk.connect(STRANGER)
    for i in range(5):
        client.send({"id": i, "call": "spawn", "args": [i]})
        desk.settle()
    assert len(desk.storage.groups) == 2
    desk.storage.sync_one()
    assert [m["id"] for m in client.received] == [0]
    second, third = desk.storage.groups
    assert third.first_seq == second.last_seq + 1
    assert third.last_seq == desk.engine.seq
    desk.storage.sync_one()
    assert [m["id"] for m in client.received] == [0, 1]
    desk.storage.sync_one()
    assert [m["id"] for m in client.received] == [0, 1, 2, 3, 4]


def test_what_is_gathered_can_be_sent_at_the_end() -> None:
    """Before a storage is closed nothing may be left behind."""
    desk = Desk()
    client = desk.connect(STRANGER)
    for i in range(5):
        client.send({"id": i, "call": "spawn", "args": [i]})
        desk.settle()
    desk.host.send_rest()
    assert desk.storage.appended_seq == desk.engine.seq


def test_p6_a_failure_takes_back_what_was_only_gathered_too() -> None:
    """P6: nothing that was undone is sent later."""
    desk = Desk()
    client = desk.connect(STRANGER)
    for i in range(5):
        client.send({"id": i, "call": "spawn", "args": [i]})
        desk.settle()
    desk.storage.sync_one()
    desk.storage.fail("full")
    assert _codes(client.received) == ["ok"] + ["in_doubt"] * 4
    assert len(desk.engine.store.tables["monster"]) == 1
    desk.host.send_rest()
    desk.storage.recover()
    client.send({"id": 9, "call": "spawn", "args": [9]})
    desk.settle()
    desk.storage.sync()
    assert client.received[-1]["id"] == 9
    assert client.received[-1]["seq"] == client.received[0]["seq"] + 1


def test_a_host_that_is_ahead_of_its_disk_waits() -> None:
    """REQ-19: past the bound of bytes not yet synced no turn starts; the sync wakes it."""
    desk = Desk(limits=dataclasses.replace(DEFAULT_LIMITS, unsynced_bytes_max=100))
    woken: list[int] = []
    client = desk.connect(STRANGER)
    for i in range(20):
        client.send({"id": i, "call": "spawn", "args": [1]})
        desk.host.run_turn()
    waiting = len(desk.host._inbox)
    assert 0 < waiting < 20
    assert not desk.host.run_turn()
    desk.host.wake = lambda: woken.append(1)
    desk.storage.sync()
    assert woken
    while desk.host._inbox:
        desk.settle()
        desk.storage.sync()
    assert [m["id"] for m in client.received] == list(range(20))


def test_the_inbox_is_bounded() -> None:
    """REQ-19: past it the answer is `overloaded`, and the reactor's own calls still get in."""
    module = Module("m", includes=[game])
    module.client_disconnected(lambda ctx: ctx.db.zone.insert(id=1) and None)
    desk = Desk(module, limits=dataclasses.replace(DEFAULT_LIMITS, inbox_calls_max=5, inflight_per_connection_max=5))
    client, other = desk.connect(STRANGER), desk.connect(STRANGER)
    for i in range(5):
        client.send({"id": i, "call": "spawn", "args": [1]})
    other.send({"id": 9, "call": "spawn", "args": [1]})
    desk.host.disconnect(client.session)
    desk.host.forget_requests()
    desk.settle()
    desk.storage.sync()
    assert _codes(other.received) == ["overloaded"]
    assert len(desk.engine.store.tables["monster"]) == 5
    assert len(desk.engine.store.tables["zone"]) == 1
    for _ in range(5):
        desk.host._inbox.put_own(Inspect(lambda: b"1"))
    with pytest.raises(Fault, match="too many"):
        desk.connect(STRANGER)
    assert len(desk.host.sessions) == 1, "a client that could not be let in is forgotten"


# -- a storage that fails --------------------------------------------------------------------------


def test_p6_a_full_disk_takes_back_refuses_and_goes_on() -> None:
    """P6: what was not stored is undone and its callers told; readers go on; then writing goes on without a gap."""
    desk = Desk()
    writer, reader = desk.connect(STRANGER), desk.connect(STRANGER)
    writer.send({"id": 0, "call": "spawn", "args": [1]})
    reader.send({"id": 0, "subscribe": ["SELECT * FROM monster"]})
    desk.settle()
    desk.storage.sync()
    reader.received.clear()
    writer.received.clear()
    seq = desk.engine.seq
    writer.send({"id": 1, "call": "hit", "args": [1, 3], "key": "k"})
    writer.send({"id": 2, "call": "ring_in", "args": [5]})
    desk.settle()
    writer.send({"id": 3, "call": "spawn", "args": [2]})
    desk.settle()
    desk.storage.fail("full")
    assert _codes(writer.received) == ["in_doubt"] * 3
    assert desk.storage.resets == 1
    assert desk.engine.seq == seq
    assert [m.hp for m in desk.engine.store.tables["monster"]] == [10]
    assert desk.engine.timers.pending() == {}
    assert reader.received == [], "deltas of what never was are nobody's"
    assert writer.ask(call="spawn", args=[1])["error"]["code"] == "read_only"
    assert "no space left" in writer.received[-1]["error"]["message"]
    assert reader.ask(subscribe=["SELECT * FROM zone"])["ok"]["set"] == 2
    assert reader.ask(time=1)["ok"]["echo"] == 1
    desk.storage.recover()
    writer.send({"id": 4, "call": "hit", "args": [1, 3], "key": "k"})
    desk.settle()
    desk.storage.sync()
    assert writer.received[-1] == {"id": 4, "ok": 7, "seq": seq + 1}
    assert [m["seq"] for m in reader.received if "deltas" in m] == [seq + 1]


def test_p6_subscriptions_that_were_not_answered_are_closed() -> None:
    """P6: a snapshot of what was taken back is not held; one that stands is."""
    desk = Desk()
    client = desk.connect(STRANGER)
    client.send({"id": 0, "subscribe": ["SELECT * FROM zone"]})
    desk.settle()
    client.send({"id": 1, "call": "spawn", "args": [1]})
    client.send({"id": 2, "subscribe": ["SELECT * FROM monster"]})
    client.send({"id": 3, "sql": "SELECT 1"})
    desk.settle()
    desk.storage.fail("full")
    assert _codes(client.received) == ["ok", "in_doubt", "in_doubt", "in_doubt"]
    assert len(desk.engine.subscriptions) == 1
    assert list(client.session.sets) == [1]
    assert client.session.snapshot_bytes < 1000


def test_p6_a_failure_inside_the_append_keeps_the_answers_that_do_not_depend_on_it() -> None:
    """P6: a storage that works on our thread may fail while the turn is handed over."""
    desk = Desk()
    client = desk.connect(STRANGER)
    append = desk.storage.append

    def failing(group: Any) -> None:
        append(group)
        desk.storage.fail("full")

    desk.storage.append = failing  # type: ignore[method-assign]
    client.send({"id": 1, "time": 1})
    client.send({"id": 2, "call": "hit", "args": [99, 1]})
    client.send({"id": 3, "call": "spawn", "args": [1]})
    client.send({"id": 4, "time": 1})
    desk.settle()
    assert _codes(client.received) == ["ok", "not_found", "in_doubt", "ok"], "what time it is, no failure makes untrue"


def _presence() -> tuple[Module, list[str]]:
    seen: list[str] = []
    module = Module("m", includes=[game])

    @module.client_connected
    def came(ctx: Context) -> None:
        seen.append("came")

    @module.client_disconnected
    def went(ctx: Context) -> None:
        seen.append("went")

    return module, seen


def test_p6_clients_that_go_while_nothing_can_be_written() -> None:
    """P6: readers are answered meanwhile; the hooks of those who went run once it can be written again."""
    module, seen = _presence()
    desk = Desk(module)
    stays, goes, queued = desk.connect(STRANGER), desk.connect(STRANGER), desk.connect(STRANGER)
    queued.disconnect()
    assert len(desk.engine.store.tables[CONNECTION_TABLE]) == 2
    desk.storage.fail("full")
    assert len(desk.engine.store.tables[CONNECTION_TABLE]) == 3, "its going was taken back"
    goes.disconnect()
    assert stays.ask(time=1)["ok"]["echo"] == 1
    assert desk.engine.seq == desk.storage.durable_seq, "nothing is committed that cannot be stored"
    desk.storage.recover()
    desk.settle()
    desk.storage.sync()
    assert len(desk.engine.store.tables[CONNECTION_TABLE]) == 1
    assert seen.count("went") == 3, "once taken back, then each for good"


def test_p6_a_client_that_comes_while_nothing_can_be_written() -> None:
    """P6: it may read; a module that wants to be told of clients is told once it can be written again."""
    module, seen = _presence()
    for which, hooks in ((game, False), (module, True)):
        desk = Desk(which)
        desk.connect(STRANGER)
        seen.clear()
        desk.storage.fail("full")
        late = RigClient(cast(Rig, desk), STRANGER, False, "f" * 32)
        gone = RigClient(cast(Rig, desk), STRANGER, False, "e" * 32)
        assert "hello" in late.received[0]
        assert late.ask(time=1)["ok"]["echo"] == 1
        gone.disconnect()
        assert seen == []
        desk.storage.recover()
        desk.settle()
        desk.storage.sync()
        assert seen == (["came"] if hooks else []), "once, and not for the one that has gone again"
        assert late.closed is None
        assert late.ask(time=2)["ok"]["echo"] == 2


def test_p6_the_wall_may_step_while_nothing_can_be_written() -> None:
    """P6: what the world has not lived through is taken out once it can be noted."""
    desk = Desk()
    desk.storage.fail("full")
    desk.clock.advance(60 * SECOND)
    desk.host.wall_stepped(60 * SECOND)
    desk.host.forget_requests()
    desk.settle()
    desk.storage.recover()
    desk.settle()
    assert desk.engine.scopes.value_at(WORLD, desk.clock.now()) == 0


def test_p6_timers_wait_for_the_disk() -> None:
    """P6: none fires while its effects cannot be stored; all fire afterwards, late and told so."""
    desk = Desk()
    client = desk.connect(STRANGER)
    client.send({"id": 1, "call": "ring_in", "args": [5]})
    desk.settle()
    desk.storage.sync()
    desk.storage.fail("full")
    desk.clock.advance(SECOND)
    desk.settle()
    assert desk.host.next_due() is None
    assert len(desk.engine.store.tables["monster"]) == 0
    desk.storage.recover()
    desk.settle()
    desk.storage.sync()
    assert len(desk.engine.store.tables["monster"]) == 1


def test_p6_a_storage_that_is_lost_stops_the_host() -> None:
    """P6: nobody is told that anything was stored; the process is told to end."""
    desk = Desk()
    lost: list[str] = []
    desk.host.on_lost = lost.append
    client = desk.connect(STRANGER)
    client.send({"id": 1, "call": "spawn", "args": [1]})
    desk.settle()
    desk.storage.told.lost("the writer has died")
    assert lost == ["the writer has died"]
    assert client.received == []
    client.send({"id": 2, "call": "spawn", "args": [1]})
    desk.settle()
    assert desk.storage.groups[-1].last_seq == desk.engine.seq, "nothing is committed after it"


def test_p6_a_defect_of_ours_stops_the_host() -> None:
    """P6: an error while a commit is made may leave memory wrong, so the process ends rather than guess."""
    desk = Desk()
    lost: list[str] = []
    desk.host.on_lost = lost.append
    client = desk.connect(STRANGER)

    def broken(changes: Any) -> Any:
        raise KeyError("a defect")

    desk.engine.subscriptions.deltas = broken  # type: ignore[method-assign]
    client.send({"id": 1, "call": "spawn", "args": [1]})
    with pytest.raises(KeyError):
        desk.settle()
    assert len(lost) == 1
    assert desk.engine.halted is not None
    assert client.received == []


# -- clients that do not read ------------------------------------------------------------------------


def test_a_client_that_does_not_read_is_told_and_cut_and_nobody_else_notices() -> None:
    """Its queries are closed; the others get every frame."""
    with Rig(game, limits=dataclasses.replace(DEFAULT_LIMITS, message_bytes_max=1000, payload_bytes_max=1000,
                                              send_queue_bytes_max=5000)) as rig:  # fmt: skip
        slow, good = rig.connect(STRANGER), rig.connect(STRANGER)
        for client in (slow, good):
            client.ask(subscribe=["SELECT * FROM monster"])
        rig.call("spawn", 1)
        slow.unread_bytes = 5001 + slow.session.unread_snapshot_bytes
        rig.call("spawn", 1)
        rig.call("spawn", 1)
        assert slow.closed == (1013, "slow_consumer")
        assert slow.received[-1]["error"]["code"] == "slow_consumer"
        assert sum("deltas" in m for m in slow.received) == 2
        assert sum("deltas" in m for m in good.received) == 3
        assert good.closed is None
        assert slow.session not in rig.host.sessions
        assert all(slow.session not in watchers for watchers in rig.host.publisher._watchers.values())


def test_a_client_may_ask_for_more_than_the_queue_holds() -> None:
    """A large snapshot is not the fault of whoever asked for it; asking again before reading is."""
    limits = dataclasses.replace(
        DEFAULT_LIMITS, message_bytes_max=1000, payload_bytes_max=1000, send_queue_bytes_max=2000
    )
    with Rig(game, limits=limits) as rig:
        rig.batch(*[("spawn", 1)] * 200)
        client = rig.connect(STRANGER)
        client.unread_bytes = 4000
        assert len(client.ask(subscribe=["SELECT * FROM monster"])["ok"]["queries"][0]["rows"]) == 200
        rig.call("spawn", 1)
        assert client.closed is None
        assert client.ask(subscribe=["SELECT * FROM monster"])["error"]["code"] == "overloaded"
        client.unread_bytes = 0
        rig.call("spawn", 1)
        assert "ok" in client.ask(subscribe=["SELECT * FROM monster"])
        client.unread_bytes = 2001 + client.session.unread_snapshot_bytes
        rig.call("spawn", 1)
        assert client.closed == (1013, "slow_consumer")


# -- start and stop ----------------------------------------------------------------------------------


def test_a53_a_crash_keeps_everything_and_a_stop_too() -> None:
    """A53: rows, ids, timers and keys go on as if nothing had happened."""
    with Rig(game) as rig:
        rig.call("spawn", 1, key="k")
        rig.call("ring_in", 10 * SECOND, SECOND)
        for leave in (rig.crash, rig.stop):
            before = {t.name: list(t) for t in rig.engine.store if t.name != "clock"}
            leave()
            rig.reopen()
            assert {t.name: list(t) for t in rig.engine.store if t.name != "clock"} == before
            assert rig.engine.timers.pending() != {}
        assert rig.call("spawn", 1) > rig.call("spawn", 1, key="k")


def test_a_stopping_host_takes_nothing_new() -> None:
    """Clients are told; who asks later is told as well; no timer fires any more."""
    desk = Desk()
    client = desk.connect(STRANGER)
    client.send({"id": 1, "call": "ring_in", "args": [5]})
    desk.settle()
    desk.storage.sync()
    answers: list[Any] = []
    desk.host.submit(Call("spawn", b"[1]", Caller(OWNER), lambda seq, body: answers.append(body)))
    desk.host.stop()
    assert client.session in desk.host.sessions, "somebody still waits for an answer"
    with pytest.raises(ReactorError, match="stopping"):
        desk.host.submit(Call("spawn", b"[1]", Caller(OWNER)))
    desk.clock.advance(SECOND)
    while desk.host.has_requests:
        desk.host.run_turn()
    desk.storage.sync()
    assert answers == [b"1"], "what was accepted is still answered"
    assert client.closed == (1001, "stopping")
    assert client.received[-1]["error"]["code"] == "stopping"
    assert desk.host.next_due() is None
    assert len(desk.engine.store.tables["bell"]) == 1


def test_what_a_client_was_accepted_with_is_answered_before_a_stop() -> None:
    """A graceful stop leaves no client in doubt."""
    desk = Desk()
    client = desk.connect(STRANGER)
    client.send({"id": 1, "call": "spawn", "args": [1]})
    desk.settle()
    desk.host.stop()
    desk.storage.sync()
    assert client.received[0] == {"id": 1, "ok": 1, "seq": desk.engine.seq}


def test_clock_sync_tells_every_clock() -> None:
    """REQ-10: a client can compute what any clock shows."""
    with Rig(game) as rig:
        rig.advance(SECOND)
        told = rig.connect(STRANGER).ask(time={"mine": 5})["ok"]
        assert told["echo"] == {"mine": 5}
        assert told["time_us"] == rig.clock.now()
        world = told["clocks"]["world"]
        shown = world["anchor_value_us"] + (told["time_us"] - world["anchor_wall_us"]) * world["rate_ppm"] // 1_000_000
        assert shown == SECOND


def test_a112_a_client_that_goes_while_it_is_being_let_in() -> None:
    """A112: its connect hook has run, so its disconnect hook runs as well; nothing of it stays."""
    for refuse in (False, True):
        module, seen = _presence()
        desk = Desk(module)
        late = RigClient(cast(Rig, desk), STRANGER, False, "f" * 32)
        if refuse:
            late.session.refuse(Fault("stopping", "no"), 1008)
        late.disconnect()
        desk.storage.sync()
        desk.settle()
        desk.storage.sync()
        assert seen == ["came", "went"]
        assert len(desk.engine.store.tables[CONNECTION_TABLE]) == 0
        assert desk.host.sessions == {}
