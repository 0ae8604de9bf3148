"""``reactor.session``: one client's conversation: order, early and bad messages, bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from reactor import Context, Module
from reactor.errors import Fault, ReactorError
from reactor.limits import DEFAULT_LIMITS
from reactor.messages import Caller
from reactor.session import Session, SqlQuestion
from reactor.testing import OWNER, Rig
from tests.reactor.fakes import STRANGER, Desk, game


def _ids(received: list[Any]) -> list[Any]:
    return [message["id"] for message in received if "id" in message]


class SlowSql:
    """SQL that is answered when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[SqlQuestion, Callable[[bytes | ReactorError], None]]] = []

    def __call__(self, question: SqlQuestion, respond: Callable[[bytes | ReactorError], None]) -> None:
        """See ``SqlRunner``."""
        self.asked.append((question, respond))


def test_greeting() -> None:
    """What a client is told first."""
    with Rig(game) as rig:
        hello = rig.connect(STRANGER).received[0]["hello"]
        assert hello["protocol"] == "v1.json.reactor"
        assert (hello["database"], hello["identity"], hello["seq"]) == ("game", STRANGER, rig.engine.seq)
        assert hello["limits"]["message_bytes_max"] == DEFAULT_LIMITS.message_bytes_max
        assert hello["time_us"] == rig.clock.now()


def test_a28_answers_in_request_order_with_mixed_cost() -> None:
    """A28: 100 pipelined requests of every kind, good and bad, across turns."""
    with Rig(game, limits=dataclasses.replace(DEFAULT_LIMITS, calls_per_turn_max=7)) as rig:
        client = rig.connect(STRANGER)
        client.received.clear()
        kinds: list[dict[str, Any]] = [
            {"call": "spawn", "args": [1]},
            {"sql": "SELECT COUNT(*) FROM monster"},
            {"call": "broken"},
            {"time": 1},
            {"nonsense": 1},
            {"subscribe": ["SELECT * FROM zone"]},
            {"batch": [{"call": "spawn", "args": [1]}] * 3},
            {"call": "spawn", "args": ["x"]},
            {"sql": "SELEKT"},
            {"unsubscribe": 77},
        ]
        for i in range(100):
            client.send({"id": i, **kinds[i % len(kinds)]})
        rig.settle()
        assert _ids(client.received) == list(range(100))


def test_a28_a_slow_query_holds_later_answers_but_no_deltas() -> None:
    """A28: commit frames overtake; answers wait their turn."""
    sql = SlowSql()
    desk = Desk(sql=sql)
    client = desk.connect(STRANGER)
    client.send({"id": 0, "subscribe": ["SELECT * FROM monster"]})
    client.send({"id": 1, "sql": "SELECT 1"})
    client.send({"id": 2, "call": "spawn", "args": [1]})
    client.send({"id": 3, "time": 5})
    desk.settle()
    desk.storage.sync()
    assert _ids(client.received) == [0]
    assert [m["seq"] for m in client.received if "deltas" in m] == [desk.engine.seq]
    (question, respond) = sql.asked[0]
    assert (question.sql, question.caller.identity) == ("SELECT 1", STRANGER)
    respond(b'{"rows":[[1]]}')
    assert _ids(client.received) == [0, 1, 2, 3]
    assert client.received[-3]["ok"] == {"rows": [[1]]}


def test_a_query_sees_what_was_committed_before_it() -> None:
    """It runs once its calls are durable and the projection has them."""
    sql = SlowSql()
    desk = Desk(sql=sql)
    client = desk.connect(STRANGER)
    desk.storage.hold_projection = True
    client.send({"id": 1, "call": "spawn", "args": [1]})
    client.send({"id": 2, "sql": "SELECT 1"})
    desk.settle()
    assert sql.asked == []
    desk.storage.sync()
    assert desk.storage.wanted == desk.engine.seq
    assert sql.asked == []
    desk.storage.told.projected(desk.engine.seq)
    assert len(sql.asked) == 1
    sql.asked[0][1](Fault("sql_unavailable", "gone"))
    assert client.received[-1]["error"]["code"] == "sql_unavailable"


def test_frames_come_before_the_reply_of_their_call() -> None:
    """After a reply the mirror already shows it."""
    with Rig(game) as rig:
        client = rig.connect(STRANGER)
        client.ask(subscribe=["SELECT * FROM monster"])
        client.received.clear()
        client.ask(call="spawn", args=[1])
        assert ["deltas" in m for m in client.received] == [True, False]
        assert client.received[0]["seq"] == client.received[1]["seq"]


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        b"",
        b"[1]",
        b'{"id":{}}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"id":1.5,"call":"a"}',
        b'{"call":"spawn"}',
    ],
)
def test_p7_a_message_that_cannot_be_read_is_answered_and_forgotten(data: bytes) -> None:
    """P7: without an id, since there is none to see; the connection goes on."""
    with Rig(game) as rig:
        client = rig.connect(STRANGER)
        client.received.clear()
        client.send(data)
        rig.settle()
        assert [m["error"]["code"] for m in client.received] == ["bad_message"]
        assert "id" not in client.received[0]
        assert client.ask(call="spawn", args=[1])["ok"] == 1


def test_p7_an_echo_that_is_no_text_is_refused() -> None:
    """P7: what the client did not encode is not sent back to it."""
    with Rig(game) as rig:
        client = rig.connect(STRANGER)
        client.send(b'{"id":9,"time":"\xff"}')
        rig.settle()
        assert client.received[-1]["error"]["code"] == "bad_message"


@pytest.mark.parametrize("args", [b'["\xff"]', b"[" * 900 + b"]" * 900, b"[1e999]", b"[" + b"9" * 4000 + b"]"])
def test_p7_arguments_that_no_reader_takes(args: bytes) -> None:
    """P7: arguments are decoded late, in the engine; what goes wrong there is an answer all the same."""
    with Rig(game) as rig:
        client = rig.connect(STRANGER)
        for message in (b'{"id":1,"call":"spawn","args":%b}', b'{"id":1,"batch":[{"call":"spawn","args":%b}]}'):
            client.send(message % args)
            rig.settle()
            assert client.received[-1]["id"] == 1
            assert client.received[-1]["error"]["code"] in ("bad_arguments", "bad_message", "bad_value")
        assert client.ask(call="spawn", args=[1])["ok"] == 1


def test_batches_are_bounded() -> None:
    """REQ-19: one to as many as the limits say."""
    with Rig(game, limits=dataclasses.replace(DEFAULT_LIMITS, batch_calls_max=2)) as rig:
        client = rig.connect(STRANGER)
        call = {"call": "spawn", "args": [1]}
        assert client.ask(batch=[])["error"]["code"] == "bad_message"
        assert client.ask(batch=[call] * 3)["error"]["code"] == "bad_message"
        assert client.ask(batch=[call] * 2)["ok"] == [1, 2]
        assert client.ask(subscribe=[])["error"]["code"] == "bad_message"


def test_messages_sent_before_the_greeting_wait_for_it() -> None:
    """In order; too many of them end the connection."""
    module = Module("m", includes=[game])
    module.client_connected(lambda ctx: None)
    desk = Desk(module)
    for count in (3, 1001):
        received: list[bytes] = []
        closed: list[Any] = []
        session = Session(
            desk.host,
            Caller(STRANGER, f"{count:032x}"),
            token=None,
            send=lambda data, received=received: received.append(data) or 0,  # type: ignore[misc]
            close=lambda code, reason, closed=closed: closed.append((code, reason)),  # type: ignore[misc]
            frame=lambda message: message + b"\n",
        )
        desk.host.connect(session)
        for i in range(count):
            session.receive(b'{"id":%d,"time":1}' % i)
        desk.settle()
        desk.storage.sync()
        desk.settle()
        lines = b"".join(received).splitlines()
        if count == 3:
            assert [b'"hello"' in line for line in lines] == [True, False, False, False]
            assert closed == []
        else:
            assert closed == [(1008, "limit_exceeded")]
            assert len(lines) == 1
    desk.settle()
    assert len(desk.engine.store.tables["reactor_connection"]) == 1


def test_req19_requests_in_flight_are_bounded() -> None:
    """REQ-19: past the bound each is refused in its place; a client that goes on regardless is sent away."""
    sql = SlowSql()
    desk = Desk(sql=sql, limits=dataclasses.replace(DEFAULT_LIMITS, inflight_per_connection_max=5))
    client = desk.connect(STRANGER)
    other = desk.connect(STRANGER)
    client.send({"id": 0, "sql": "SELECT 1"})
    for i in range(1, 8):
        client.send({"id": i, "time": 1})
    desk.settle()
    sql.asked[0][1](b"{}")
    desk.settle()
    codes = [m.get("error", {}).get("code") for m in client.received]
    assert _ids(client.received) == list(range(8))
    assert codes == [None] * 5 + ["overloaded"] * 3
    client.send({"id": 0, "sql": "SELECT 1"})
    desk.settle()
    for i in range(50):
        client.send({"id": i, "nonsense": 1} if i % 2 else {"id": i, "time": 1})
    assert client.closed == (1008, "limit_exceeded")
    assert len(client.session._waiting) <= 10
    assert other.ask(time=1)["ok"]["echo"] == 1


def test_a_closed_session_takes_and_says_nothing() -> None:
    """Whatever comes after the end is nobody's."""
    with Rig(game) as rig:
        client = rig.connect(OWNER)
        client.ask(subscribe=["SELECT * FROM monster"])
        client.send({"id": 1, "subscribe": ["SELECT * FROM zone"]})
        client.disconnect()
        count = len(client.received)
        client.send({"id": 2, "call": "spawn", "args": [1]})
        rig.call("spawn", 1)
        rig.settle()
        assert len(client.received) == count
        assert len(rig.rows("monster")) == 1
        assert len(rig.engine.subscriptions) == 0


def test_what_a_connection_asked_before_it_was_lost_is_done() -> None:
    """A call that was taken is run, though nobody hears the answer."""
    module = Module("m", includes=[game])

    @module.reducer
    def count(ctx: Context) -> int:
        return len(ctx.db.monster)

    with Rig(module) as rig:
        client = rig.connect(STRANGER)
        client.send({"id": 1, "call": "spawn", "args": [1]})
        client.disconnect()
        assert rig.call("count") == 1
