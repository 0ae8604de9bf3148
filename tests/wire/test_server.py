"""The native protocol against a real server: greeting, requests, subscriptions, hooks, timers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.wire.serving import PLAYGROUND, Server, Wire

ALICE = "alice-" + "a" * 40
BOB = "bob-" + "b" * 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(PLAYGROUND, tmp_path_factory.mktemp("server") / "data") as running:
        yield running


# -- the greeting and who is who -------------------------------------------------------------------


def test_the_greeting(server: Server) -> None:
    """Protocol, database, identity, a token to come back with, the history and its seq, limits."""
    with server.socket() as wire:
        hello = wire.hello
        assert (hello["protocol"], hello["database"], hello["durability"]) == ("v1.json.reactor", "playground", "full")
        assert len(hello["identity"]) == len(hello["connection_id"]) == len(hello["history_id"]) == 32
        assert len(hello["token"]) >= 32
        assert hello["limits"]["message_bytes_max"] == 1 << 20
        assert abs(hello["time_us"] - time.time_ns() // 1000) < 60_000_000
    with server.socket(hello["token"]) as again:
        assert again.hello["identity"] == hello["identity"]
        assert again.hello["token"] is None
        assert again.hello["connection_id"] != hello["connection_id"]
        assert again.ok(call="who_am_i") == hello["identity"]


def test_the_token_may_stand_in_the_address(server: Server) -> None:
    """Browsers cannot set headers; the header wins where both are given."""
    url = f"ws://127.0.0.1:{server.port}/v1/database/playground/subscribe?token={ALICE}"
    with server.socket(ALICE) as by_header, connect(url, proxy=None) as connection:
        assert Wire(connection).hello["identity"] == by_header.hello["identity"]
    with connect(url, proxy=None, additional_headers={"Authorization": f"Bearer {BOB}"}) as both:
        assert Wire(both).hello["identity"] != by_header.hello["identity"]


@pytest.mark.parametrize(
    ("database", "token", "options", "status"),
    [
        ("elsewhere", None, {}, 404),
        (None, "short", {}, 401),
        (None, None, {"subprotocols": ["v9.unknown"]}, 400),
    ],
)
def test_a_handshake_that_cannot_be_is_refused_at_once(
    server: Server, database: str | None, token: str | None, options: dict[str, Any], status: int
) -> None:
    """A20: a wrong database is a named refusal and no hang; so are a bad token and an unknown protocol."""
    started = time.monotonic()
    with pytest.raises(InvalidStatus) as refused:
        server.raw_socket(token, database, **options)
    assert refused.value.response.status_code == status
    assert time.monotonic() - started < 2


def test_the_subprotocol_is_confirmed(server: Server) -> None:
    """Who offers our protocol gets it, whatever else is offered."""
    with server.raw_socket(None, None, subprotocols=["x", "v1.json.reactor"]) as connection:
        assert connection.subprotocol == "v1.json.reactor"


# -- requests --------------------------------------------------------------------------------------


def test_calls_batches_sql_and_time(server: Server) -> None:
    """Every verb has its answer with the seq it reflects."""
    with server.socket(ALICE) as wire:
        one = wire.ask(call="add", args=["verb one", 9])
        two = wire.ask(call="add", args={"name": "verb two", "zone": 9})
        assert (two["ok"], two["seq"] > one["seq"]) == (one["ok"] + 1, True)
        assert wire.ok(batch=[{"call": "add", "args": ["b1", 9]}, {"call": "add", "args": ["b2", 9]}]) == [
            two["ok"] + 1,
            two["ok"] + 2,
        ]
        result = wire.ok(sql="SELECT name FROM item WHERE zone = ? ORDER BY id", params=[9])
        assert result["rows"] == [["verb one"], ["verb two"], ["b1"], ["b2"]]
        told = wire.ok(time={"any": "thing"})
        assert told["echo"] == {"any": "thing"}
        assert told["clocks"]["world"]["rate_ppm"] == 1_000_000


def test_a_batch_is_one_commit_or_none(server: Server) -> None:
    """P2: one bad call undoes all of them, and the error names its place."""
    with server.socket(ALICE) as wire:
        before = wire.ok(sql="SELECT COUNT(*) FROM item")["rows"]
        answer = wire.ask(batch=[{"call": "add", "args": ["whole 1"]}, {"call": "fail_late"}])
        assert (answer["error"]["code"], answer["error"]["index"]) == ("internal", 1)
        answer = wire.ask(batch=[{"call": "add", "args": ["whole 1"]}, {"call": "nothing"}])
        assert (answer["error"]["code"], answer["error"]["index"]) == ("unknown_reducer", 1)
        assert wire.ok(sql="SELECT COUNT(*) FROM item")["rows"] == before


def test_a_key_runs_a_call_once_also_on_another_connection(server: Server) -> None:
    """P5: the same caller and key, from a new connection, get the first answer."""
    with server.socket(ALICE) as wire:
        first = wire.ok(call="add", args=["keyed on the wire"], key="wire 1")
    with server.socket(ALICE) as wire:
        assert wire.ok(call="add", args=["keyed on the wire"], key="wire 1") == first
        assert wire.code(call="add", args=["another"], key="wire 1") == "key_reused"


def test_replies_come_in_the_order_of_the_requests(server: Server) -> None:
    """A28: 100 pipelined requests of mixed kind and cost are answered in order."""
    with server.socket(ALICE) as wire:
        for number in range(100):
            match number % 5:
                case 0:
                    wire.send({"id": number, "sql": "SELECT COUNT(*) FROM item a, item b"})
                case 1:
                    wire.send({"id": number, "call": "work", "args": [20_000]})
                case 2:
                    wire.send({"id": number, "call": "nothing"})
                case 3:
                    wire.send({"id": number, "time": 1})
                case _:
                    wire.send({"id": number, "call": "add", "args": [f"ordered {number}", 28]})
        assert [wire.receive()["id"] for _ in range(100)] == list(range(100))


def test_subscribe_and_unsubscribe(server: Server) -> None:
    """P4: snapshot, then one frame per commit with inserts, updates by old key, deletes; silence after the end."""
    with server.socket(ALICE) as wire, server.socket(BOB) as other:
        opened = wire.ask(subscribe=["SELECT * FROM item WHERE zone = 51"])
        query = opened["ok"]["queries"][0]
        assert (query["table"], query["key"], query["rows"], query["resumed"]) == ("item", "id", [], False)
        assert query["columns"] == ["id", "name", "zone", "text"]
        item = other.ok(call="add", args=["watched", 51])
        other.ok(call="grow", args=[item, 3])
        other.ok(call="set_zone", args=[item, 52])
        frames = [wire.receive() for _ in range(3)]
        assert [frame["seq"] for frame in frames] == sorted({frame["seq"] for frame in frames})
        deltas = [frame["deltas"][0] for frame in frames]
        assert deltas[0]["insert"] == [[item, "watched", 51, ""]]
        assert deltas[1]["update"] == [[item, [item, "watched", 51, "xxx"]]]
        assert deltas[2]["delete"] == [item]
        assert wire.ok(unsubscribe=opened["ok"]["set"]) == {"set": opened["ok"]["set"]}
        other.ok(call="set_zone", args=[item, 51])
        wire.told.clear()
        wire.ok(time=1)
        assert wire.told == []
        assert wire.code(unsubscribe=opened["ok"]["set"]) == "unknown_subscription"


def test_the_mirror_shows_a_call_before_its_reply(server: Server) -> None:
    """A commit's frame arrives before the reply to the call that made it, on the same connection."""
    with server.socket(ALICE) as wire:
        wire.ok(subscribe="SELECT * FROM item WHERE zone = 61")
        wire.told.clear()
        answer = wire.ask(call="add", args=["own write", 61])
        assert [frame["seq"] for frame in wire.told] == [answer["seq"]]


def test_a_batch_is_one_frame(server: Server) -> None:
    """A33: what one commit does to several queries is one frame."""
    with server.socket(ALICE) as wire:
        wire.ok(subscribe=["SELECT * FROM item WHERE zone = 71", "SELECT * FROM item WHERE zone = 72"])
        wire.told.clear()
        wire.ok(batch=[{"call": "add", "args": [f"frame {place}", zone]} for place, zone in enumerate((71, 72, 71))])
        assert len(wire.told) == 1
        assert sorted(len(delta["insert"]) for delta in wire.told[0]["deltas"]) == [1, 2]


def test_private_tables_are_for_the_owner(server: Server) -> None:
    """A111: neither subscription nor SQL shows a private table to others."""
    with server.socket(ALICE) as wire:
        assert wire.code(subscribe="SELECT * FROM secret") == "forbidden"
        assert wire.code(sql="SELECT * FROM secret") == "sql_forbidden"
        assert wire.code(call="hide", args=["x"]) == "forbidden"
        assert wire.code(call="ring", args=[{"scheduled_id": 1, "scheduled_at": 1}]) == "forbidden"
    with server.socket(server.owner_token) as owner:
        owner.ok(subscribe="SELECT * FROM secret")
        owner.ok(call="hide", args=["y"])
        assert owner.told[-1]["deltas"][0]["table"] == "secret"


def test_the_hooks_run_when_clients_come_and_go(server: Server) -> None:
    """A112: presence rows appear and go with the connection, as commits that others see."""
    with server.socket(ALICE) as watcher:
        watcher.ok(subscribe="SELECT * FROM presence")
        with server.socket(BOB) as visitor:
            connection = visitor.hello["connection_id"]
            row = [connection, visitor.hello["identity"]]
            assert watcher.receive()["deltas"][0]["insert"] == [row]
        assert watcher.receive()["deltas"][0]["delete"] == [connection]


def test_a_client_that_a_hook_refuses_is_told_and_closed(server: Server) -> None:
    """A112: the connect hook's refusal is the goodbye, with close code 1008."""
    unwanted = "unwanted-" + "u" * 40
    identity = server.call("who_am_i", token=unwanted).json["ok"]
    server.call("hide", f"ban {identity}", token=server.owner_token)
    url = f"ws://127.0.0.1:{server.port}/v1/database/playground/subscribe?token={unwanted}"
    with connect(url, proxy=None) as connection:
        assert orjson.loads(connection.recv(5))["error"]["code"] == "forbidden"
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(5)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    assert server.rows(f"SELECT COUNT(*) FROM presence WHERE identity = '{identity}'") == [[0]]


def test_timers_fire_on_a_real_server(server: Server) -> None:
    """A80: never before their time, and soon after it."""
    with server.socket(ALICE) as wire:
        wire.ok(subscribe="SELECT * FROM ledger")
        bell = wire.ok(call="set_bell", args=[150_000])
        frame = wire.receive()
        timer, due_at = frame["deltas"][0]["insert"][0][1:]
        assert timer == bell
        assert 0 <= frame["at"] - due_at < 1_000_000


def test_the_secret_of_the_owner_is_for_its_user_alone(server: Server) -> None:
    """The token's file, and the directory itself, are closed to others."""
    assert (server.data_dir / "owner.token").stat().st_mode & 0o077 == 0
    assert server.data_dir.stat().st_mode & 0o077 == 0
