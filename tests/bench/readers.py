"""Many connections that subscribe and count what they are sent, in a process of their own.

``python -m tests.bench.readers PORT PATH`` takes one JSON object from standard input, ``{"connections": n, "queries":
[[...], ...]}`` (the queries of each connection, taken in turn; none: it only listens), and then words: ``mark`` starts
counting anew, ``count`` tells what came since. They only look for the marks that begin a frame and a delta.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import orjson

from tests.bench.harness import Child
from tests.bench.load import on_loop
from tests.bench.wire import PONG, Frames, Wire, client_frame, connect

_FRAME = b'{"seq":'
_DELTA = b'"query":'
_KEEP_ALIVE_S = 9.0


class Reader(Wire):
    """One connection that counts."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally
        self._tail = b""
        self._frames: Frames | None = Frames()
        self.answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def received(self, data: bytes) -> None:
        """Look at whole frames until the subscription is answered, from then on only for marks."""
        if self._frames is None:
            self._tally.count(self._tail + data, len(data))
            self._tail = data[-len(_DELTA) + 1 :]
            return
        for _, payload in self._frames.feed(data):
            if payload.startswith(b'{"id"'):
                self.answered.set_result(payload)
                self.only_count()

    def only_count(self) -> None:
        """From now on nothing is decoded."""
        self._frames = None


class Tally:
    """What all readers of the process were sent."""

    def __init__(self) -> None:
        self.mark()

    def mark(self) -> None:
        """Count anew."""
        self.frames = self.deltas = self.bytes = 0
        self.first = self.last = 0.0

    def count(self, data: bytes, fresh: int) -> None:
        """Count the marks in ``data``, whose last ``fresh`` bytes are new; the tail before is shorter than a mark."""
        self.frames += data.count(_FRAME, max(0, len(data) - fresh - len(_FRAME) + 1))
        self.deltas += data.count(_DELTA)
        self.bytes += fresh
        self.last = time.perf_counter()
        if not self.first:
            self.first = self.last


async def _open(reader: Reader, port: int, path: str, queries: Sequence[str]) -> None:
    await connect(reader, port, path)
    if not queries:
        reader.only_count()
        return
    reader.transport.write(client_frame(orjson.dumps({"id": 1, "subscribe": queries})))
    answer = orjson.loads(await asyncio.wait_for(reader.answered, 60))
    if "error" in answer:
        raise RuntimeError(f"subscribe: {answer['error']}")


async def _main(port: int, path: str) -> None:
    from tests.bench.serve import tell

    asked = json.loads(sys.stdin.readline())
    tally = Tally()
    readers = [Reader(tally) for _ in range(asked["connections"])]
    queries = asked["queries"] or [[]]
    for start in range(0, len(readers), 50):
        some = readers[start : start + 50]
        await asyncio.gather(*(_open(r, port, path, queries[(start + i) % len(queries)]) for i, r in enumerate(some)))
    loop = asyncio.get_running_loop()

    def keep_alive() -> None:
        for reader in readers:
            reader.transport.write(PONG)
        loop.call_later(_KEEP_ALIVE_S, keep_alive)

    keep_alive()
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop.add_reader(sys.stdin, lambda: lines.put_nowait(sys.stdin.readline()))
    tell(ready=True)
    while (word := (await lines.get()).strip()) != "":
        lost = sum(reader.closed.done() for reader in readers)
        tell(
            frames=tally.frames,
            deltas=tally.deltas,
            bytes=tally.bytes,
            elapsed_s=tally.last - tally.first,
            lost=lost,
        )
        if word == "mark":
            tally.mark()


class Readers:
    """The process of the readers, from outside."""

    def __init__(self, server: Child, connections: int, queries: Sequence[Sequence[str]] = ()) -> None:
        asked = json.dumps({"connections": connections, "queries": queries})
        self._child = Child("tests.bench.readers", str(server.port), server.path, first=asked)

    def mark(self) -> dict[str, Any]:
        """What came since the last mark; counts anew."""
        return self._child.ask("mark")

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()


if __name__ == "__main__":
    on_loop(lambda: _main(int(sys.argv[1]), sys.argv[2]))
