"""Messages over a stream socket on an asyncio loop, without ever waiting for the other end."""

from __future__ import annotations

import asyncio
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from reactor.storage.frames import Splitter

_READ_BYTES = 1 << 16
_SEND_BUFFERS = 64


class Channel:
    """One end of a socket pair that carries frames (see ``reactor.storage.frames``).

    ``received(message)`` is called on the loop for each message, ``ended()`` once when the other end has closed.
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        received: Callable[[list[Any]], None],
        ended: Callable[[], None],
    ) -> None:
        self._sock, self._loop = sock, loop
        self._received, self._ended = received, ended
        self._splitter = Splitter()
        self._unsent: deque[memoryview] = deque()
        self.open = True
        sock.setblocking(False)
        loop.add_reader(sock, self._readable)

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the socket has not taken yet."""
        return sum(map(len, self._unsent))

    def send(self, data: bytes) -> None:
        """Send a frame: now if the socket takes it, which saves a turn of the loop, else when it does."""
        if not self.open:
            return
        waiting = bool(self._unsent)
        self._unsent.append(memoryview(data))
        if not waiting:
            self._flush()
            if self._unsent:
                self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        self._flush()
        if not self._unsent and self.open:
            self._loop.remove_writer(self._sock)

    def _flush(self) -> None:
        try:
            while self._unsent:
                buffers = [self._unsent[i] for i in range(min(len(self._unsent), _SEND_BUFFERS))]
                self._sent(self._sock.sendmsg(buffers))
        except BlockingIOError:
            pass
        except OSError:
            # The other end is gone. Its last answers are still to be read, so the reader finds out.
            self._unsent.clear()

    def _sent(self, size: int) -> None:
        while size:
            first = self._unsent[0]
            if size < len(first):
                self._unsent[0] = first[size:]
                return
            size -= len(self._unsent.popleft())

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        for message in self._splitter.feed(data):
            self._received(message)
        if not data and self.open:
            self.close()
            self._ended()

    def drain(self, wait_s: Callable[[], float]) -> bool:
        """Block, sending and receiving, until the other end has closed; False if ``wait_s()``, the time left,
        ran out before. The loop does not run meanwhile."""
        if self.open:
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
        while self.open:
            poll = select.poll()
            poll.register(self._sock, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            ready = poll.poll(max(0.0, wait_s()) * 1_000)
            if not ready:
                return False
            if ready[0][1] & select.POLLOUT:
                self._flush()
            if ready[0][1] & ~select.POLLOUT:
                self._readable()
        return True

    def close(self) -> None:
        """Forget what is unsent and close the socket."""
        if self.open:
            self.open = False
            self._unsent.clear()
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
