"""``reactor.storage.channel``."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from reactor.storage.channel import Channel
from reactor.storage.frames import Splitter, frame


class End:
    """A channel with what it received."""

    def __init__(self, sock: socket.socket) -> None:
        self.messages: list[list[Any]] = []
        self.ended = asyncio.Event()
        self.arrived = asyncio.Event()
        self.channel = Channel(sock, asyncio.get_running_loop(), self._received, self.ended.set)

    def _received(self, message: list[Any]) -> None:
        self.messages.append(message)
        self.arrived.set()


def test_sending_never_blocks_and_loses_nothing() -> None:
    """What the socket does not take is kept and sent when it can, in order."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        end = End(ours)
        payload = bytes(100_000)
        for seq in range(100):
            end.channel.send(frame(0, seq, payload))
        assert end.channel.unsent_bytes > 5_000_000
        theirs.setblocking(False)
        splitter = Splitter()
        found: list[int] = []
        while len(found) < 100:
            data = await asyncio.get_running_loop().sock_recv(theirs, 1 << 16)
            found += [message[1] for message in splitter.feed(data)]
        assert found == list(range(100))
        assert end.channel.unsent_bytes == 0
        end.channel.close()
        theirs.close()

    asyncio.run(run())


def test_messages_arrive_and_the_end_is_told_once() -> None:
    """The last answers are read before the end is told."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        end = End(ours)
        theirs.sendall(frame(1, "a") + frame(2, "b"))
        theirs.close()
        await end.ended.wait()
        assert end.messages == [[1, "a"], [2, "b"]]
        assert not end.channel.open
        end.channel.send(frame(3))
        end.channel.close()

    asyncio.run(run())


def test_drain_blocks_until_the_other_end_closes() -> None:
    """Used to close: everything is sent and received without the loop."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        end = End(ours)
        assert not end.channel.drain(lambda: 0.0), "nothing can be received, so the time runs out"
        theirs.sendall(frame(1, "a"))
        theirs.shutdown(socket.SHUT_WR)
        assert end.channel.drain(lambda: 10.0)
        assert end.messages == [[1, "a"]]
        assert end.ended.is_set()
        theirs.close()

    asyncio.run(run())
