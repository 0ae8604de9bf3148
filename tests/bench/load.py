"""A load generator that costs as little as possible, so that it measures the server and not itself.

Requests are encoded and framed before the clock starts; a reply is only counted, by the length in its frame header.
Each connection keeps a fixed number of requests in flight (``drive``).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import orjson
import uvloop

from tests.bench.harness import Child, percentile
from tests.bench.wire import Client, Wire, client_frame, connect

Outcome = TypeVar("Outcome")


def call_frame(reducer: str, *args: object) -> bytes:
    """A call, framed. Its id has five digits, as those of a busy client have."""
    return client_frame(orjson.dumps({"id": 12345, "call": reducer, "args": args}))


def on_loop(work: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """Run ``work`` on an event loop of its own, the same kind the server has."""

    async def run() -> Outcome:
        return await work()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def with_client(server: Child, work: Callable[[Client], Awaitable[Outcome]]) -> Outcome:
    """Run ``work`` with a client of ``server``, on a loop of its own."""

    async def run() -> Outcome:
        client = await connect(Client(), server.port, server.path)
        try:
            return await work(client)
        finally:
            client.transport.close()

    return on_loop(run)


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
        return percentile(self.latencies_s, fraction) * 1e3

    @property
    def shown(self) -> str:
        """The latencies, for the line of a figure."""
        return f"p50 {self.percentile_ms(0.5):.2f} ms p99 {self.percentile_ms(0.99):.1f} ms"


class Pipe(Wire):
    """One connection that keeps ``in_flight`` requests going, taken from ``frames`` in turn."""

    def __init__(self, frames: Sequence[bytes], in_flight: int) -> None:
        super().__init__()
        self._frames = frames
        self._in_flight = in_flight
        self._buffer = bytearray()
        self._next = 0
        self._sent: deque[tuple[float, int]] = deque()
        self._deadline = 0.0
        self._finished: asyncio.Future[None] | None = None
        self.replies = 0
        self.errors = 0
        self.latencies: list[float] = []

    def connection_lost(self, error: Exception | None) -> None:
        """The run cannot end well."""
        super().connection_lost(error)
        if self._finished is not None and not self._finished.done():
            self._finished.set_exception(ConnectionError(f"connection lost: {error}"))

    def received(self, data: bytes) -> None:
        """Count the answers (they begin with ``{"id"``) and send as many requests."""
        buffer = self._buffer
        buffer += data
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
            if length > 4 and buffer[body + 2] == 0x69:
                answered += 1
                if buffer.find(b'"error":{', body, body + 40) >= 0:
                    self.errors += 1
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
        if now < self._deadline:
            self.send(count)
        elif not sent and self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

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
        self._finished = asyncio.get_running_loop().create_future()
        self._deadline = time.perf_counter() + seconds
        self.send(self._in_flight)
        return self._finished


async def driven(port: int, path: str, work: Sequence[Sequence[bytes]], *, in_flight: int, seconds: float) -> Result:
    """``drive`` on a loop that runs already."""
    pipes = [await connect(Pipe(frames, in_flight), port, path) for frames in work]
    begin = time.perf_counter()
    await asyncio.wait_for(asyncio.gather(*(pipe.start(seconds) for pipe in pipes)), seconds + 60)
    elapsed = time.perf_counter() - begin
    for pipe in pipes:
        pipe.transport.close()
    latencies = sorted(latency for pipe in pipes for latency in pipe.latencies)
    return Result(sum(p.replies for p in pipes), elapsed, latencies, sum(p.errors for p in pipes))


def drive(port: int, path: str, work: Sequence[Sequence[bytes]], *, in_flight: int, seconds: float) -> Result:
    """Keep ``in_flight`` requests going on one connection per element of ``work`` for ``seconds``."""
    return on_loop(lambda: driven(port, path, work, in_flight=in_flight, seconds=seconds))
