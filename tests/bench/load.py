"""A load generator that costs as little as possible, so that it measures the server and not itself.

Requests are encoded and framed before the clock starts; a reply is only counted, by the length in its frame header. Each
connection keeps a fixed number of requests in flight.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import uvloop


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


@dataclass
class Result:
    """What a run came to. Latencies in seconds, sorted."""

    done: int
    elapsed_s: float
    latencies_s: list[float]
    errors: int

    @property
    def rate(self) -> float:
        """Replies per second."""
        return self.done / self.elapsed_s

    def percentile_ms(self, fraction: float) -> float:
        """A latency percentile in milliseconds."""
        if not self.latencies_s:
            return float("nan")
        return self.latencies_s[min(int(len(self.latencies_s) * fraction), len(self.latencies_s) - 1)] * 1e3


class Pipe(asyncio.Protocol):
    """One WebSocket connection that keeps ``in_flight`` requests going, taken from ``frames`` in turn.

    ``pushed`` counts frames that are not answers (they begin with ``{"seq"``); ``rows`` the bytes of them.
    """

    def __init__(self, path: str, frames: Sequence[bytes], in_flight: int, opened: asyncio.Future[None]) -> None:
        self._path = path
        self._frames = frames
        self._in_flight = in_flight
        self._opened = opened
        self._buffer = bytearray()
        self._is_open = False
        self._next = 0
        self._sent: deque[tuple[float, int]] = deque()
        self.replies = 0
        self.errors = 0
        self.pushed = 0
        self.pushed_bytes = 0
        self.latencies: list[float] = []
        self.until: int | None = 0
        self.deadline = 0.0
        self.finished: asyncio.Future[None] | None = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self._opened, self.finished):
            if future is not None and not future.done():
                future.set_exception(ConnectionError(f"connection lost: {error}"))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        if not self._is_open:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                self._opened.set_exception(ConnectionError(bytes(buffer[:300]).decode()))
                return
            del buffer[: end + 4]
            self._is_open = True
            self._opened.set_result(None)
        self._count(buffer)

    def _count(self, buffer: bytearray) -> None:
        at, end, answered = 0, len(buffer), 0
        while end - at >= 2:
            length = buffer[at + 1]
            body = at + 2
            if length == 126:
                length = int.from_bytes(buffer[at + 2 : at + 4], "big")
                body = at + 4
            elif length == 127:
                length = int.from_bytes(buffer[at + 2 : at + 10], "big")
                body = at + 10
            if end - body < length:
                break
            kind = buffer[body + 2]
            if kind == 0x69:  # {"id"
                answered += 1
                if buffer.find(b'"error":{', body, body + 40) >= 0:
                    self.errors += 1
            elif kind == 0x73:  # {"seq"
                self.pushed += 1
                self.pushed_bytes += length
            at = body + length
        if at:
            del buffer[:at]
        if answered:
            self._answered(answered)

    def _answered(self, count: int) -> None:
        now = time.perf_counter()
        self.replies += count
        sent = self._sent
        left = count
        while left and sent:
            at, number = sent[0]
            took = min(left, number)
            self.latencies.extend([now - at] * took)
            left -= took
            if took == number:
                sent.popleft()
            else:
                sent[0] = (at, number - took)
        if now < self.deadline:
            self.send(count)
        elif not sent and self.finished is not None and not self.finished.done():
            self.finished.set_result(None)

    def send(self, count: int) -> None:
        """Send the next ``count`` requests."""
        frames, start = self._frames, self._next
        piece = frames[start : start + count]
        while len(piece) < count:
            piece = [*piece, *frames[: count - len(piece)]]
        self._next = (start + count) % len(frames)
        self._sent.append((time.perf_counter(), count))
        self.transport.write(b"".join(piece))

    def start(self, seconds: float) -> asyncio.Future[None]:
        """Begin; the future is done when the last answer after the deadline has come."""
        self.finished = asyncio.get_running_loop().create_future()
        self.deadline = time.perf_counter() + seconds
        self.send(self._in_flight)
        return self.finished


async def _run(port: int, path: str, work: Sequence[Sequence[bytes]], in_flight: int, seconds: float) -> Result:
    loop = asyncio.get_running_loop()
    pipes = []
    for frames in work:
        opened: asyncio.Future[None] = loop.create_future()
        _, pipe = await loop.create_connection(
            lambda f=frames, o=opened: Pipe(path, f, in_flight, o), "127.0.0.1", port
        )  # type: ignore[misc]
        await opened
        pipes.append(pipe)
    begin = time.perf_counter()
    await asyncio.wait_for(asyncio.gather(*(pipe.start(seconds) for pipe in pipes)), seconds + 60)
    elapsed = time.perf_counter() - begin
    for pipe in pipes:
        pipe.transport.close()
    latencies = sorted(latency for pipe in pipes for latency in pipe.latencies)
    return Result(sum(p.replies for p in pipes), elapsed, latencies, sum(p.errors for p in pipes))


def drive(port: int, path: str, work: Sequence[Sequence[bytes]], *, in_flight: int, seconds: float) -> Result:
    """Keep ``in_flight`` requests going on one connection per element of ``work`` for ``seconds``."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(port, path, work, in_flight, seconds))
