"""Requests between being made and being answered: which wait, which are on their way, what is to be sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from client.errors import BadRequest
from client.messages import encode
from client.sets import LiveSet

_UNLIMITED = float("inf")


@dataclass(slots=True)
class Request:
    """One request. ``repeatable``: sending it twice does no harm. ``internal``: nobody waits for its answer."""

    id: int
    verb: str
    message: dict[str, Any]
    repeatable: bool = False
    live_set: LiveSet | None = None
    internal: bool = False


class Requests:
    """The requests of one client, over however many connections it takes. ``limits`` are those of the greeting."""

    def __init__(self) -> None:
        self.limits: Mapping[str, int] = {}
        self.sent: dict[int, Request] = {}
        self.subscribing = 0
        """How many subscriptions are on their way."""
        self._next_id = 1
        self._waiting: deque[Request] = deque()
        self._outgoing: list[bytes] = []

    def __len__(self) -> int:
        return len(self._waiting) + len(self.sent)

    @property
    def next_id(self) -> int:
        """The id the next request will have."""
        return self._next_id

    def make(
        self,
        verb: str,
        body: Mapping[str, Any],
        *,
        repeatable: bool = False,
        live_set: LiveSet | None = None,
        internal: bool = False,
    ) -> Request:
        """A new request, not yet sent. Raises ``BadRequest`` if it can never be."""
        message = {"id": self._next_id, **body}
        self._check_length(encode(message))
        self._next_id += 1
        return Request(message["id"], verb, message, repeatable, live_set, internal)

    def wait(self, request: Request) -> None:
        """Send it when its turn comes."""
        self._waiting.append(request)

    def send(self, request: Request) -> None:
        """Send it now, before all that wait. Raises ``BadRequest`` if it is too long for this server."""
        data = encode(request.message)
        self._check_length(data)
        self.sent[request.id] = request
        self.subscribing += request.verb == "subscribe"
        self._outgoing.append(data)

    def send_waiting(self) -> list[tuple[Request, BadRequest]]:
        """Send what waits, as far as the bound on unanswered requests allows; returns what turned out too long."""
        refused = []
        inflight_max = self.limits.get("inflight_max", _UNLIMITED)
        while self._waiting and len(self.sent) < inflight_max:
            request = self._waiting.popleft()
            if request.verb == "unsubscribe" and request.live_set:
                # Only now is it certain which connection's number will be understood.
                request.message["unsubscribe"] = request.live_set.number
            try:
                self.send(request)
            except BadRequest as error:
                refused.append((request, error))
        return refused

    def answered(self, request_id: int) -> Request | None:
        """The request an answer is for, no longer on its way; None if there is no such request."""
        request = self.sent.pop(request_id, None)
        if request is not None:
            self.subscribing -= request.verb == "subscribe"
        return request

    def take_outgoing(self) -> list[bytes]:
        """The messages to send, each handed out once."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def connection_lost(self) -> list[Request]:
        """Put back what can be sent again, in its old order; returns the requests now in doubt."""
        sent = [request for request in self.sent.values() if not request.internal]
        self._waiting.extendleft(request for request in reversed(sent) if request.repeatable)
        self.sent.clear()
        self.subscribing = 0
        self._outgoing.clear()
        return [request for request in sent if not request.repeatable]

    def waiting(self, verb: str) -> list[Request]:
        """The requests of that kind which wait."""
        return [request for request in self._waiting if request.verb == verb]

    def take_waiting(self, wanted: Callable[[Request], bool] = lambda request: True) -> list[Request]:
        """Take out the ``wanted`` of the requests that wait."""
        taken = [request for request in self._waiting if wanted(request)]
        self._waiting = deque(request for request in self._waiting if not wanted(request))
        return taken

    def _check_length(self, data: bytes) -> None:
        longest = self.limits.get("message_bytes_max", _UNLIMITED)
        if len(data) > longest:
            raise BadRequest(f"the message has {len(data)} bytes, the server takes {longest}")
