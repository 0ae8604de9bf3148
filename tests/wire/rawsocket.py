"""A WebSocket client that may do what a library would not let it: break frames, send early, stop reading."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import orjson
from websockets.frames import Frame, Opcode

from tests.wire.serving import Server


def masked(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    """A frame as a client sends it."""
    return Frame(opcode, data, fin).serialize(mask=True)


class End(NamedTuple):
    """How a connection ended: the last error it was told, its close code, and the bytes of all frames."""

    error: str | None
    close_code: int | None
    bytes: int


class RawSocket:
    """The frames of one connection by hand."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.send = connection.sendall
        self.greeting: dict[str, Any] = {}
        self._rest = bytearray()

    def until(self, end: bytes) -> bytes:
        """Everything up to and with ``end``."""
        while end not in self._rest:
            self._more()
        return self._take(self._rest.index(end) + len(end))

    def frame(self) -> tuple[int, bytes]:
        """The next frame of the server: opcode and payload. Raises ``EOFError`` when there is none."""
        first, length = self._exactly(2)
        if length == 126:
            length = int.from_bytes(self._exactly(2), "big")
        elif length == 127:
            length = int.from_bytes(self._exactly(8), "big")
        return first & 0x0F, self._exactly(length)

    def messages(self, count: int) -> list[dict[str, Any]]:
        """The next text messages."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            opcode, payload = self.frame()
            if opcode == Opcode.TEXT:
                found.append(orjson.loads(payload))
        return found

    def closing_code(self) -> int:
        """The code of the close frame that comes next."""
        while True:
            opcode, payload = self.frame()
            if opcode == Opcode.CLOSE:
                return int.from_bytes(payload[:2], "big")

    def drained(self) -> End:
        """Read to the end."""
        error, code, total = None, None, 0
        try:
            while True:
                opcode, payload = self.frame()
                total += len(payload)
                if opcode == Opcode.TEXT and payload.startswith(b'{"error"'):
                    error = orjson.loads(payload)["error"]["code"]
                elif opcode == Opcode.CLOSE:
                    code = int.from_bytes(payload[:2], "big")
        except (EOFError, OSError):
            return End(error, code, total)

    def _exactly(self, count: int) -> bytes:
        while len(self._rest) < count:
            self._more()
        return self._take(count)

    def _more(self) -> None:
        piece = self.connection.recv(1 << 16)
        if not piece:
            raise EOFError
        self._rest += piece

    def _take(self, count: int) -> bytes:
        taken = bytes(self._rest[:count])
        del self._rest[:count]
        return taken


@contextmanager
def raw(server: Server, *, receive_bytes: int | None = None, early: bytes = b"") -> Iterator[RawSocket]:
    """A connection after its handshake and greeting; ``early`` is sent before the greeting is read."""
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(30)
    with connection:
        connection.connect(("127.0.0.1", server.port))
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET /v1/database/{server.database}/subscribe HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        connection.sendall(head.encode())
        wire = RawSocket(connection)
        if not wire.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101"):
            raise RuntimeError("the handshake was refused")
        connection.sendall(early)
        wire.greeting = wire.messages(1)[0]
        yield wire
