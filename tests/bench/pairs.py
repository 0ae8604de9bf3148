"""Connections that start a workflow, wait for its id, cancel it, and begin again."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson

from tests.bench.harness import Child
from tests.bench.load import on_loop
from tests.bench.wire import Frames, Wire, client_frame, connect


class Pairs(Wire):
    """Keeps ``in_flight`` workflows on their way from start to cancel."""

    def __init__(self, start_frame: bytes, in_flight: int) -> None:
        super().__init__()
        self._start_frame = start_frame
        self._in_flight = in_flight
        self._frames = Frames()
        self._open = 0
        self._deadline = 0.0
        self._finished: asyncio.Future[None] | None = None
        self.pairs = 0
        self.errors = 0

    def received(self, data: bytes) -> None:
        """Each start that is answered is cancelled; each cancel that is answered makes room for a start."""
        out: list[bytes] = []
        for _, payload in self._frames.feed(data):
            if not payload.startswith(b'{"id"'):
                continue
            answer = orjson.loads(payload)
            if "error" in answer:
                self.errors += 1
                self._open -= 1
            elif isinstance(answer["ok"], int):
                out.append(_cancel_frame(answer["ok"]))
            else:
                self.pairs += 1
                if time.perf_counter() < self._deadline:
                    out.append(self._start_frame)
                else:
                    self._open -= 1
        if out:
            self.transport.write(b"".join(out))
        if not self._open and self._finished is not None and not self._finished.done():
            self._finished.set_result(None)

    def start(self, seconds: float) -> asyncio.Future[None]:
        """Begin; the future is done when everything that was started after the deadline is cancelled."""
        self._finished = asyncio.get_running_loop().create_future()
        self._deadline = time.perf_counter() + seconds
        self._open = self._in_flight
        self.transport.write(self._start_frame * self._in_flight)
        return self._finished


def _cancel_frame(workflow_id: int) -> bytes:
    return client_frame(b'{"id":12345,"call":"workflow_cancel","args":[%d,"bench"]}' % workflow_id)


def pair_rate(
    server: Child, start_frame: bytes, *, connections: int, in_flight: int, seconds: float
) -> tuple[Any, int]:
    """Pairs of start and cancel a second, and calls refused."""

    async def run() -> tuple[float, int]:
        pipes = [await connect(Pairs(start_frame, in_flight), server.port, server.path) for _ in range(connections)]
        begin = time.perf_counter()
        await asyncio.wait_for(asyncio.gather(*(pipe.start(seconds) for pipe in pipes)), seconds + 60)
        elapsed = time.perf_counter() - begin
        for pipe in pipes:
            pipe.transport.close()
        return sum(pipe.pairs for pipe in pipes) / elapsed, sum(pipe.errors for pipe in pipes)

    return on_loop(run)
