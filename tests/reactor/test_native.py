"""``reactor.wire.native``: messages of the JSON protocol and back, and every form that is none."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import SenderError
from reactor.live import Delta
from reactor.testing import Rig
from reactor.wire import native
from tests.reactor.fakes import game

FORMS: list[tuple[bytes, str]] = [
    (b'{"id":1,"call":"hit","args":[7,5]}', "call"),
    (b'{"id":"x","call":"hit"}', "call"),
    (b'{"id":-9,"call":"hit","args":{"a":1},"key":"k"}', "call"),
    (b'{"id":2,"batch":[{"call":"a","args":[]},{"call":"b"}],"key":"k"}', "batch"),
    (b'{"id":3,"subscribe":["SELECT 1"]}', "subscribe"),
    (b'{"id":3,"subscribe":"SELECT 1","resume":{"history_id":"h","seq":5}}', "subscribe"),
    (b'{"id":4,"unsubscribe":0}', "unsubscribe"),
    (b'{"id":5,"sql":"SELECT 1","params":[1]}', "sql"),
    (b'{"id":5,"sql":"","params":{"a":1}}', "sql"),
    (b'{"id":6,"time":null}', "time"),
    (b'{"id":6,"time":[1, {"a":2}]}', "time"),
    (b' {"time": 5, "id": 6} ', "time"),
]


def _verb(data: bytes) -> str:
    message = native.decode(data)
    return "call" if isinstance(message, native.CallMessage) else native.verb_of(message)


@pytest.mark.parametrize(("data", "verb"), FORMS)
def test_every_form_of_message(data: bytes, verb: str) -> None:
    """Each verb with its options, integer and text ids, bytes and text frames."""
    assert _verb(data) == verb
    assert _verb(data.decode().encode()) == verb


BAD: list[bytes] = [
    b"",
    b"nonsense",
    b"[]",
    b"7",
    b"null",
    b'"text"',
    b"{}",
    b'{"id":1}',
    b'{"call":"a"}',
    b'{"id":null,"call":"a"}',
    b'{"id":1.5,"call":"a"}',
    b'{"id":true,"call":"a"}',
    b'{"id":[1],"call":"a"}',
    b'{"id":"' + b"x" * 200 + b'","call":"a"}',
    b'{"id":1,"call":7}',
    b'{"id":1,"call":"a","batch":[]}',
    b'{"id":1,"call":"a","time":1}',
    b'{"id":1,"sql":"x","subscribe":["y"]}',
    b'{"id":1,"shout":"a"}',
    b'{"id":1,"call":"a","extra":1}',
    b'{"id":1,"call":"a","resume":{"history_id":"h","seq":1}}',
    b'{"id":1,"call":"a","params":[1]}',
    b'{"id":1,"subscribe":["x"],"args":[1]}',
    b'{"id":1,"subscribe":["x"],"key":"k"}',
    b'{"id":1,"sql":"x","resume":{"history_id":"h","seq":1}}',
    b'{"id":1,"unsubscribe":1,"params":[1]}',
    b'{"id":1,"time":1,"key":"k"}',
    b'{"id":1,"subscribe":[1]}',
    b'{"id":1,"subscribe":{"a":1}}',
    b'{"id":1,"subscribe":["x"],"resume":{"history_id":"h"}}',
    b'{"id":1,"subscribe":["x"],"resume":{"history_id":"h","seq":"1"}}',
    b'{"id":1,"subscribe":["x"],"resume":{"history_id":"h","seq":1,"more":1}}',
    b'{"id":1,"unsubscribe":"1"}',
    b'{"id":1,"unsubscribe":1.5}',
    b'{"id":1,"unsubscribe":' + b"9" * 5000 + b"}",
    b'{"id":1,"batch":[{"args":[]}]}',
    b'{"id":1,"batch":[{"call":"a","key":"k"}]}',
    b'{"id":1,"batch":{"call":"a"}}',
    b'{"id":1,"sql":5}',
    b'{"id":1,"sql":"x","params":5}',
    b'{"id":1,"sql":"x","params":[' + b"9" * 5000 + b"]}",
    b'{"id":1,"call":"a","args":[}',
    b'{"id":1,"call":"\xff"}',
    b'{"id":1,"call":"\\ud800"}',
    b'{"id":1,"call":"a","args":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"id":1,"time":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b"[" * 100_000,
    b'{"id":1,"call":"a"}{"id":2,"call":"a"}',
]


def _decode(data: bytes) -> None:
    message = native.decode(data)
    native.id_bytes(message.id)
    if not isinstance(message, native.CallMessage):
        native.verb_of(message)


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_what_is_no_message_is_refused_with_a_sentence(data: bytes) -> None:
    """One code, a reason, and the id when it can still be seen."""
    with pytest.raises(SenderError) as caught:
        _decode(data)
    assert caught.value.code == "bad_message"
    assert len(caught.value.message) < 400
    hint = native.id_hint(data)
    assert hint is None or orjson.loads(hint) in (1, "x")


@given(st.binary(max_size=80) | st.recursive(st.integers() | st.text(), st.lists).map(repr).map(str.encode))
def test_p7_no_bytes_are_more_than_an_error(data: bytes) -> None:
    """P7: whatever arrives is a message or a ``SenderError``."""
    try:
        _decode(data)
    except SenderError as error:
        assert error.code == "bad_message"
    native.id_hint(data)


@given(st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(max_size=128)))
def test_ids_come_back_as_they_were(request_id: Any) -> None:
    """In answers, and in answers to messages that could not be read."""
    assert orjson.loads(native.id_bytes(request_id)) == request_id
    hint = native.id_hint(orjson.dumps({"id": request_id, "nonsense": 1}))
    assert hint is not None
    assert orjson.loads(hint) == request_id


def test_frames() -> None:
    """The forms of what the server says."""
    error = native.reply_error(b"5", SenderError("not_found", "no", table="t"))
    assert orjson.loads(error) == {"id": 5, "error": {"code": "not_found", "message": "no", "table": "t"}}
    assert orjson.loads(native.reply_error(None, SenderError("sender_error", "\ud800"))) == {
        "error": {"code": "sender_error", "message": "\\ud800"}
    }
    with Rig(game) as rig:
        rig.call("spawn", 3)
        table = rig.engine.store.tables["monster"]
        active = rig.engine.subscriptions.open(rig.host.publisher._parse("SELECT * FROM monster"))
        delta = Delta(active)
        assert orjson.loads(native.delta_part(9, table, delta)) == {"query": 9, "table": "monster"}
        row = table.require(1)
        delta.inserts.append(row)
        delta.updates.append((1, row))
        delta.deletes.append(1)
        part = native.delta_part(9, table, delta)
        frame = orjson.loads(native.commit_frame(7, 8, [part, part]))
        shown = [1, 3, 10, None]
        told = {"query": 9, "table": "monster", "insert": [shown], "update": [[1, shown]], "delete": [1]}
        assert frame == {"seq": 7, "at": 8, "deltas": [told, told]}
        head = native.query_part(9, "SELECT", table.schema, {"rows": []})
        assert head == {
            "query": 9,
            "sql": "SELECT",
            "table": "monster",
            "columns": ["id", "zone", "hp", "name"],
            "key": "id",
            "rows": [],
        }
