"""A WebSocket client of the least possible cost, in two forms: raw bytes, and questions with answers.

It sends masked frames whose mask is zero, so that a frame can be made once and sent many times.
"""

from __future__ import annotations

import asyncio
import base64
import os
from typing import Any, TypeVar

import orjson

PONG = b"\x8a\x80\0\0\0\0"


def client_frame(message: bytes) -> bytes:
    """A masked text frame; the mask is zero, so the payload stands as it is."""
    length = len(message)
    if length < 126:
        head = bytes([0x81, 0x80 | length])
    elif length < 1 << 16:
        head = b"\x81\xfe" + length.to_bytes(2, "big")
    else:
        head = b"\x81\xff" + length.to_bytes(8, "big")
    return head + b"\0\0\0\0" + message


class Wire(asyncio.Protocol):
    """One connection: does the handshake, then hands on what comes to ``received``."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None
        self._head: bytearray | None = bytearray()

    def request(self, path: str) -> None:
        """Ask for the upgrade."""
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def connection_made(self, transport: Any) -> None:
        """The socket is there."""
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(f"connection lost: {error}"))
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Bytes of the server."""
        if self._head is None:
            self.received(data)
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return
        if not self._head.startswith(b"HTTP/1.1 101"):
            self.opened.set_exception(ConnectionError(bytes(self._head[:300]).decode()))
            return
        rest = bytes(self._head[end + 4 :])
        self._head = None
        self.opened.set_result(None)
        if rest:
            self.received(rest)

    def received(self, data: bytes) -> None:
        """Bytes after the handshake."""
        raise NotImplementedError


AnyWire = TypeVar("AnyWire", bound=Wire)


async def connect(wire: AnyWire, port: int, path: str) -> AnyWire:
    """Connect ``wire`` and wait for the upgrade."""
    await asyncio.get_running_loop().create_connection(lambda: wire, "127.0.0.1", port)
    wire.request(path)
    await asyncio.wait_for(wire.opened, 60)
    return wire


class Frames:
    """Takes bytes and gives the payloads of whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that are complete now, as ``(opcode, payload)``."""
        buffer = self._buffer
        buffer += data
        found = []
        at, end = 0, len(buffer)
        while end - at >= 2:
            length, body = buffer[at + 1], at + 2
            if length >= 126:
                size = 2 if length == 126 else 8
                length, body = int.from_bytes(buffer[at + 2 : at + 2 + size], "big"), at + 2 + size
            if end - body < length:
                break
            found.append((buffer[at] & 0x0F, bytes(buffer[body : body + length])))
            at = body + length
        del buffer[:at]
        return found


class Client(Wire):
    """Asks and gets answers, in order, for the parts of a benchmark that need no great rate."""

    def __init__(self) -> None:
        super().__init__()
        self._frames = Frames()
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next_id = 0

    def received(self, data: bytes) -> None:
        """Match answers with questions; anything else is dropped."""
        for opcode, payload in self._frames.feed(data):
            if opcode == 9:
                self.transport.write(PONG)
            elif payload.startswith(b'{"id"'):
                message = orjson.loads(payload)
                future = self._waiting.pop(message["id"], None)
                if future is not None and not future.done():
                    future.set_result(message)

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever waits learns that no answer will come."""
        super().connection_lost(error)
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError("connection lost"))

    def send(self, **message: Any) -> asyncio.Future[dict[str, Any]]:
        """Send a message with a fresh id; the future is its answer."""
        self._next_id += 1
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._next_id] = future
        self.transport.write(client_frame(orjson.dumps({"id": self._next_id, **message})))
        return future

    async def call(self, reducer: str, *args: Any) -> Any:
        """Call a reducer; its result, or ``RuntimeError`` with the error."""
        answer = await self.send(call=reducer, args=list(args))
        if "error" in answer:
            raise RuntimeError(f"{reducer}: {answer['error']}")
        return answer["ok"]
