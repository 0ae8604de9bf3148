"""Frames between reactor and reader."""

from __future__ import annotations

import socket

import msgspec

from reactor.errors import Fault, SenderError
from reactor.sql.messages import Answered, Asked, SqlCaps, SqlRequest, frame, receive


def test_a_request_travels() -> None:
    """Frame by frame, with both kinds of parameters; None once the other side has closed."""
    one, two = socket.socketpair()
    caps = SqlCaps(deadline_s=0.5, rows=2, result_bytes=3, sql_chars=4)
    sent = [
        Asked(1, SqlRequest("SELECT ?", [None, True, -1, 1 << 63, 0.5, "é"], True, "csv", caps)),
        Asked(2, SqlRequest("SELECT :a", {"a": 1})),
    ]
    for message in sent:
        one.sendall(frame(message))
    one.close()
    bodies = [receive(two), receive(two)]
    assert [msgspec.msgpack.decode(body or b"", type=Asked) for body in bodies] == sent
    assert receive(two) is None
    two.close()


def test_a_torn_frame_is_the_end() -> None:
    """A side that died within a frame has closed."""
    one, two = socket.socketpair()
    one.sendall(frame(Answered(1))[:-1])
    one.close()
    assert receive(two) is None
    two.close()


def test_errors_travel() -> None:
    """Code, message and details arrive, and whose desk it is."""
    error = Answered(1, code="sql_too_large", message="m", details={"cap": "rows"}).error()
    assert isinstance(error, SenderError)
    assert error.to_json() == {"code": "sql_too_large", "message": "m", "cap": "rows"}
    assert isinstance(Answered(1, code="sql_unavailable", message="m").error(), Fault)
