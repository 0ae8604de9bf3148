"""Live calls at a steady rate, whatever the server does meanwhile: what a player would feel.

A call is sent when its moment has come, also when earlier ones are unanswered, and its latency counts from that moment.
So a pause of the server is seen by every call that fell into it, and not by one alone.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque

from tests.bench.load import Result, call_frame, on_loop
from tests.bench.wire import Frames, Wire, connect


class Paced(Wire):
    """Sends the same call ``rate`` times a second until ``finish``."""

    def __init__(self, frame: bytes, rate: float) -> None:
        super().__init__()
        self._frame = frame
        self._gap_s = 1.0 / rate
        self._frames = Frames()
        self._due: deque[float] = deque()
        self._next = 0.0
        self._running = False
        self._begun = 0.0
        self._done: asyncio.Future[None] | None = None
        self.latencies: list[float] = []
        self.errors = 0

    def received(self, data: bytes) -> None:
        """Answers come in the order of the calls."""
        now = time.perf_counter()
        for _, payload in self._frames.feed(data):
            if payload.startswith(b'{"id"'):
                self.latencies.append(now - self._due.popleft())
                self.errors += payload.startswith(b'{"id":12345,"error"')
        if self._done is not None and not self._due and not self._done.done():
            self._done.set_result(None)

    def start(self) -> None:
        """Begin."""
        self._running = True
        self._begun = self._next = time.perf_counter()
        self._tick()

    def _tick(self) -> None:
        if not self._running:
            return
        now = time.perf_counter()
        count = 0
        while self._next <= now:
            self._due.append(self._next)
            self._next += self._gap_s
            count += 1
        if count:
            self.transport.write(self._frame * count)
        asyncio.get_running_loop().call_later(self._next - time.perf_counter(), self._tick)

    async def finish(self) -> Result:
        """Send no more, wait for the last answer."""
        self._running = False
        if self._due:
            self._done = asyncio.get_running_loop().create_future()
            await asyncio.wait_for(self._done, 60)
        elapsed = time.perf_counter() - self._begun
        self.transport.close()
        return Result(len(self.latencies), elapsed, sorted(self.latencies), self.errors)


async def _main(port: int, path: str, reducer: str, rate: float) -> None:
    from tests.bench.serve import tell

    loop = asyncio.get_running_loop()
    paced = await connect(Paced(call_frame(reducer), rate), port, path)
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop.add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
    tell(ready=True)
    await lines.get()
    paced.start()
    tell(started=True)
    await lines.get()
    result = await paced.finish()
    tell(
        calls=result.done,
        errors=result.errors,
        p50_ms=result.percentile_ms(0.5),
        p99_ms=result.percentile_ms(0.99),
        max_ms=result.percentile_ms(1.0),
    )


if __name__ == "__main__":
    on_loop(lambda: _main(int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])))
