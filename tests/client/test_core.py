"""The core by itself: what it sends, what it makes of what it hears, and what survives a lost connection."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from client.core import ClientCore
from client.errors import (
    BadRequest,
    CallFailed,
    ConstraintFailed,
    ProtocolViolation,
)
from client.messages import (
    CommitApplied,
    Complaint,
    Failure,
    Goodbye,
    Reply,
    SetApplied,
    SqlResult,
)
from tests.client.modelserver import ModelServer
from tests.client.rig import ALL, ZONE_0, ZONE_1, Rig, Shadow, connected, plain, sent

# -- requests ------------------------------------------------------------------------------------


def test_requests_wait_for_the_greeting() -> None:
    """Nothing is sent before the server has greeted; then everything, in order."""
    rig = Rig()
    rig.core.call("put", ["monster", [1, 0, 5]])
    rig.core.sql("SELECT 1")
    rig.connect()
    assert rig.core.bytes_to_send() == []
    rig.deliver_one()
    assert [list(message)[1] for message in sent(rig.core)] == ["call", "sql"]


def test_replies_find_their_requests() -> None:
    """Each kind of request gets its value, with the number of the commit it reflects."""
    rig = connected()
    rig.core.call("put", ["monster", [1, 0, 5]])
    rig.core.batch([("put", ["monster", [2, 0, 5]]), ("put", ["monster", [3, 0, 5]])])
    rig.core.sql("SELECT COUNT(*)")
    rig.core.time(77)
    rig.settle()
    replies = rig.of(Reply)
    assert [(reply.id, reply.seq) for reply in replies] == [(1, 1), (2, 3), (3, 3), (4, 3)]
    assert replies[1].value == [2, 3]
    assert replies[2].value == SqlResult(["n"], [[3]], 5, 3)
    assert replies[3].value["echo"] == 77


def test_values_take_their_json_forms() -> None:
    """A25: bytes go as base64, instants and durations as microseconds, integers past 64 bits as text."""
    rig = connected()
    instant = datetime(2026, 1, 1, tzinfo=UTC)
    rig.core.call("put", [b"\x00\xff", instant, timedelta(milliseconds=3), 1 << 100, (True, None, {"a": 1 << 70})])
    assert sent(rig.core)[0]["args"] == [
        "AP8=",
        1767225600000000,
        3000,
        str(1 << 100),
        [True, None, {"a": str(1 << 70)}],
    ]


@pytest.mark.parametrize("value", [object(), datetime(2026, 1, 1), {1: 2, object(): 3}, 3j])
def test_what_is_not_json_is_refused_here(value: Any) -> None:
    """A value without a JSON form is an error of the call; nothing is sent and nothing waits."""
    rig = connected()
    with pytest.raises(BadRequest):
        rig.core.call("put", [value])
    assert rig.core.unanswered == 0


def test_the_servers_limits_are_kept() -> None:
    """Too long a message is refused here; more requests than may be unanswered wait their turn."""
    rig = connected()
    with pytest.raises(BadRequest, match="65536"):
        rig.core.call("put", ["x" * 70_000])
    for _ in range(150):
        rig.core.time()
    rig.send()
    assert rig.session is not None
    assert len(rig.session.received) == 100
    rig.settle()
    assert len(rig.of(Reply)) == 150


def test_failures_are_typed() -> None:
    """An error answers its request with the class of its code and the details; the rest goes on."""
    rig = connected()
    rig.core.call("put", ["monster", [1, 0, 0]])
    error = {"code": "unique_violation", "message": "taken", "table": "monster", "column": "id", "value": 1}
    [failure] = rig.core.receive(json.dumps({"id": 1, "error": error}))
    assert isinstance(failure, Failure)
    assert isinstance(failure.error, ConstraintFailed)
    assert failure.error.details == {"table": "monster", "column": "id", "value": 1}
    [failure] = answer_error(rig.core, "code_of_tomorrow")
    assert type(failure.error) is CallFailed


def answer_error(core: ClientCore, code: str) -> list[Any]:
    """Ask something and have it refused with that code."""
    request = core.time()
    return core.receive(json.dumps({"id": request, "error": {"code": code, "message": "no"}}))


def test_errors_without_id() -> None:
    """A complaint keeps the connection; a goodbye, or any error instead of a greeting, announces its end."""
    rig = connected()
    assert isinstance(rig.core.receive('{"error":{"code":"bad_message","message":""}}')[0], Complaint)
    assert isinstance(rig.core.receive('{"error":{"code":"slow_consumer","message":""}}')[0], Goodbye)
    refused = ClientCore()
    refused.connection_made()
    assert isinstance(refused.receive('{"error":{"code":"forbidden","message":""}}')[0], Goodbye)


@pytest.mark.parametrize(
    "frame",
    [
        "nonsense",
        "[]",
        "7",
        "{}",
        '{"deltas":[{}],"seq":1,"at":0}',
        '{"hello":{}}',
        '{"id":99,"ok":1,"seq":1}',
        '{"id":1,"ok":{"set":1},"seq":1}',
        '{"id":1,"ok":{"set":1,"queries":[]},"seq":1}',
    ],
)
def test_broken_protocol_is_a_violation(frame: str) -> None:
    """What the protocol does not allow is named, not guessed at."""
    rig = connected()
    rig.core.subscribe([ALL])
    with pytest.raises(ProtocolViolation):
        rig.core.receive(frame)


def test_order_is_checked() -> None:
    """P4: a commit that comes twice, or after a reply that already told of it, is a violation."""
    rig = connected()
    rig.subscribe(ALL)
    rig.server.commit({("monster", 1): [1, 0, 5]})
    assert rig.session is not None
    frame = rig.session.out[0]
    rig.settle()
    with pytest.raises(ProtocolViolation, match="commit 1 came after"):
        rig.core.receive(frame)


def test_speaking_before_or_twice_greeting() -> None:
    """The greeting comes first and once."""
    core = ClientCore()
    core.connection_made()
    with pytest.raises(ProtocolViolation):
        core.receive('{"seq":1,"at":0,"deltas":[]}')
    rig = connected()
    with pytest.raises(ProtocolViolation):
        rig.core.receive(ModelServer().connect().out[0])


# -- subscriptions -------------------------------------------------------------------------------


def test_first_rows_older_than_deltas() -> None:
    """P4: deltas that overtake the first rows are put on top of them, not lost."""
    rig = connected()
    rig.core.subscribe([ALL])
    assert rig.session is not None
    rig.session.hold_answers()
    rig.send()
    rig.server.commit({("monster", 1): [1, 0, 5]})
    assert rig.deliver_one()
    assert rig.rows("monster") == []
    rig.settle()
    assert rig.rows("monster") == [(1, 0, 5)]


def test_same_query_again_while_its_set_ends() -> None:
    """P4: a query that is let go and asked for in one breath loses no delta on the way."""
    rig = connected()
    first, _ = rig.subscribe(ALL)
    rig.core.unsubscribe(first)
    rig.core.subscribe([ALL])
    assert rig.session is not None
    rig.session.hold_answers()
    rig.send()
    rig.server.commit({("monster", 1): [1, 0, 5]})
    rig.settle()
    assert rig.rows("monster") == [(1, 0, 5)]


def test_overlapping_queries_hold_rows_together() -> None:
    """A31, A32: a row stays while any query holds it; an ended set has no rows and is not active."""
    rig = connected()
    rig.server.commit({("monster", 1): [1, 0, 5], ("monster", 2): [2, 1, 5]})
    everything, all_rows = rig.subscribe(ALL)
    zone, zone_rows = rig.subscribe(ZONE_0)
    rig.core.unsubscribe(everything)
    assert not rig.core.is_active(everything)
    assert len(all_rows.rows()) == 2, "the rows stay until the server has acknowledged"
    rig.settle()
    assert all_rows.rows() == []
    assert rig.rows("monster") == [(1, 0, 5)] == [tuple(row) for row in zone_rows.rows()]
    with pytest.raises(BadRequest):
        rig.core.unsubscribe(everything)
    assert rig.core.is_active(zone)


def test_a_row_that_changes_queries_is_one_update() -> None:
    """A29, A31: leaving one query and entering another in one commit is an update of the table, not two events."""
    rig = connected()
    rig.server.commit({("monster", 1): [1, 0, 5]})
    _, zone_0 = rig.subscribe(ZONE_0)
    _, zone_1 = rig.subscribe(ZONE_1)
    shadows = [Shadow(zone_0.listeners), Shadow(zone_1.listeners)]
    shadows[0].rows["monster", 1] = zone_0.rows()[0]
    rig.server.commit({("monster", 1): [1, 1, 5]})
    rig.settle()
    [commit] = rig.of(CommitApplied)
    assert plain(commit.applied.changes) == [((1, 0, 5), (1, 1, 5))]
    assert (shadows[0].log, shadows[1].log) == (["-1"], ["+1"])


def test_refused_set_leaves_nothing() -> None:
    """A34: a refused set fails alone."""
    rig = connected()
    set_id, view = rig.subscribe("SELECT nonsense")
    assert [failure.id for failure in rig.of(Failure)] == [set_id]
    assert view.rows() == []
    assert not rig.core.is_active(set_id)
    rig.subscribe(ALL)
    assert rig.of(SetApplied)
    with pytest.raises(BadRequest):
        rig.core.subscribe([])
