"""A connection without a socket: messages in, requests out, answers and deltas back in order.

``receive`` takes the text of one frame. Whatever is to be sent leaves through ``push`` into ``outgoing``; the server
moves it to the network. Answers leave in the order of the requests, whatever the order in which they become ready;
commit frames do not wait for answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from reactor.errors import Fault, ReactorError, SenderError
from reactor.limits import Limits
from reactor.messages import Batch, Call, Caller, Inspect, Request
from reactor.wire import native

CLOSE_STOPPING = 1001
CLOSE_UNSUPPORTED = 1003
CLOSE_POLICY = 1008
CLOSE_TRY_LATER = 1013


_EARLY_MAX = 1_000


class Answer(msgspec.Struct, gc=False):
    """Where the answer to one request goes: the ``ticket``-th answer of a session."""

    session: Session
    ticket: int
    request_id: bytes

    def __call__(self, seq: int, body: bytes | ReactorError) -> None:
        """Send it, or keep it until the answers before it have gone."""
        self.session.answer(self.ticket, self.reply(seq, body))

    def reply(self, seq: int, body: bytes | ReactorError) -> bytes:
        """The message that answers the request."""
        if isinstance(body, ReactorError):
            return native.reply_error(self.request_id, body)
        return b'{"id":%b,"ok":%b,"seq":%d}' % (self.request_id, body, seq)


class PlainAnswer(Answer, gc=False):
    """Token of a request whose answer no commit can make untrue: it is given even if the store fails meanwhile."""


class SqlQuestion:
    """Token of an SQL question: answered by the SQL reader once the projection has come far enough.

    ``format`` is one of ``reactor.sql.formats.FORMATS``; a session gets JSON.
    """

    __slots__ = ("answer", "caller", "format", "params", "sql")

    def __init__(
        self,
        answer: Callable[[int, bytes | ReactorError], None],
        sql: str,
        params: Any,
        caller: Caller,
        format: str = "json",
    ) -> None:
        self.format = format
        self.answer = answer
        self.sql = sql
        self.params = params
        self.caller = caller


class SubscribeAnswer(Answer, gc=False):
    """Token of a ``subscribe``: the set it opened is closed again if the answer cannot be given."""

    set_number: int
    size: int = 0

    def __call__(self, seq: int, body: bytes | ReactorError) -> None:
        """See ``Answer``."""
        self.session.snapshot_leaves(self.size)
        self.session.answer_set(self.ticket, self.reply(seq, body))


class SessionHost(Protocol):
    """What a session asks of its host."""

    limits: Limits

    def submit(self, request: Request, size_bytes: int = 0) -> None:
        """Put a request in the inbox; raises ``Fault`` ``overloaded``."""

    def greet(self, session: Session) -> bytes:
        """The greeting for a session that was let in."""

    def clocks(self, echo: bytes) -> bytes:
        """The body of the answer to `time`."""

    def open_queries(self, session: Session, number: int, texts: list[str], resume: Any) -> bytes:
        """Open live queries as set ``number`` and return the body of the answer."""

    def close_queries(self, session: Session, number: int) -> None:
        """Close a set; ``SenderError`` ``unknown_subscription`` if there is none."""

    def flush_later(self, session: Session) -> None:
        """The session has something to send."""

    def cut(self, session: Session) -> None:
        """The session does not keep up."""


class Session:
    """One client's conversation. ``frame`` turns a message into the bytes that the transport sends."""

    def __init__(
        self,
        host: SessionHost,
        caller: Caller,
        *,
        token: str | None,
        send: Callable[[bytes], int],
        close: Callable[[int, str], None],
        frame: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self.host = host
        self.caller = caller
        self.token = token
        self.send = send
        self.close = close
        self.frame = frame
        self.outgoing: list[bytes] = []
        self.is_open = False
        self.is_closed = False
        self.sets: dict[int, list[Any]] = {}
        self.held: dict[int, int] = {}
        self.queries = 0
        self.unrouted = 0
        self._submit = host.submit
        self._inflight_max = host.limits.inflight_per_connection_max
        self._early: list[bytes | str] = []
        self._early_bytes = 0
        self._held_bytes = 0
        self._next_ticket = 0
        self._next_answer = 0
        self._next_set = 0
        self._waiting: dict[int, list[bytes]] = {}
        self._set_waits = -1
        self._promised_bytes = 0
        self.unread_snapshot_bytes = 0

    @property
    def snapshot_bytes(self) -> int:
        """Bytes of snapshots that were made for this session and are not known to have been read."""
        return self._promised_bytes + self.unread_snapshot_bytes

    # -- life --------------------------------------------------------------------------------

    def open(self) -> None:
        """The client was let in: greet it and go through what it has already sent."""
        if self.is_closed:
            return
        self.is_open = True
        self.push(self.frame(self.host.greet(self)))
        early, self._early = self._early, []
        for data in early:
            self.receive(data)

    def refuse(self, error: ReactorError, code: int) -> None:
        """Say why, and close."""
        if self.is_closed:
            return
        self.outgoing.append(self.frame(native.reply_error(None, error)))
        self.send(b"".join(self.outgoing))
        self.outgoing = []
        self.is_closed = True
        self.close(code, error.code)

    # -- in ----------------------------------------------------------------------------------

    def receive(self, data: bytes | str) -> None:
        """Take the text of one frame. A bad message is answered with an error; the session goes on."""
        if self.is_closed:
            return
        if not self.is_open:
            self._early.append(data)
            self._early_bytes += len(data)
            if len(self._early) > _EARLY_MAX or self._early_bytes > self.host.limits.message_bytes_max:
                self.refuse(SenderError("limit_exceeded", "wait for the greeting before sending more"), CLOSE_POLICY)
            return
        try:
            message = native.decode(data)
        except SenderError as error:
            self._unreadable(data, error)
            return
        ticket = self._next_ticket
        self._next_ticket = ticket + 1
        request_id = b"null"
        try:
            request_id = native.id_bytes(message.id)
            if ticket - self._next_answer >= self._inflight_max:
                self._too_many(ticket)
            answer = Answer(self, ticket, request_id)
            if isinstance(message, native.CallMessage):
                call = Call(message.call, bytes(message.args), self.caller, answer, message.key)
                self._submit(call, len(data))
            else:
                self._request(message, answer)
        except ReactorError as error:
            self.answer(ticket, native.reply_error(request_id, error))

    def _unreadable(self, data: bytes | str, error: SenderError) -> None:
        request_id = native.id_hint(data)
        if request_id is None:
            self.push(self.frame(native.reply_error(None, error)))
            return
        ticket = self._next_ticket
        self._next_ticket = ticket + 1
        try:
            if ticket - self._next_answer >= self._inflight_max:
                self._too_many(ticket)
        except Fault as full:
            # Answered like any other: a ticket without an answer would hold back all that come after it.
            self.answer(ticket, native.reply_error(request_id, full))
            return
        self.answer(ticket, native.reply_error(request_id, error))

    def _too_many(self, ticket: int) -> None:
        """Refuse one request too many; a client that goes on regardless is sent away."""
        if ticket - self._next_answer >= 2 * self._inflight_max:
            error = SenderError("limit_exceeded", f"more than {2 * self._inflight_max} requests wait for answers")
            self.refuse(error, CLOSE_POLICY)
        raise Fault("overloaded", "too many requests of this connection wait for their answers")

    def _request(self, message: native.Message, answer: Answer) -> None:
        verb = native.verb_of(message)
        submit = self._submit
        if verb == "call":
            submit(Call(message.call or "", bytes(message.args), self.caller, answer, message.key))
        elif verb == "batch":
            specs = message.batch or []
            if not 0 < len(specs) <= self.host.limits.batch_calls_max:
                raise SenderError("bad_message", f"a batch has 1 to {self.host.limits.batch_calls_max} calls")
            calls = [(spec.call, bytes(spec.args)) for spec in specs]
            submit(Batch(calls, self.caller, answer, message.key), sum([len(args) for _, args in calls]))
        elif verb == "subscribe":
            self._subscribe(message, answer)
        elif verb == "unsubscribe":
            number = message.unsubscribe or 0
            submit(Inspect(lambda: self._unsubscribe(number), PlainAnswer(self, answer.ticket, answer.request_id)))
        elif verb == "sql":
            # Through the inbox, so that it sees what this connection's calls before it have done.
            submit(Inspect(lambda: b"", SqlQuestion(answer, message.sql or "", message.params, self.caller)))
        else:
            echo = bytes(message.time)
            try:
                echo.decode()
            except UnicodeDecodeError as error:
                raise SenderError("bad_message", f"this is not JSON: {error}") from None
            submit(Inspect(lambda: self.host.clocks(echo), PlainAnswer(self, answer.ticket, answer.request_id)))

    def _subscribe(self, message: native.Message, answer: Answer) -> None:
        texts = [message.subscribe] if isinstance(message.subscribe, str) else list(message.subscribe or ())
        if not texts:
            raise SenderError("bad_message", "`subscribe` needs at least one query")
        self._next_set += 1
        number = self._next_set
        token = SubscribeAnswer(self, answer.ticket, answer.request_id, number)

        def open_set() -> bytes:
            body = self.host.open_queries(self, number, texts, message.resume)
            token.size = len(body)
            self._promised_bytes += token.size
            return body

        self._submit(Inspect(open_set, token, is_heavy=True), sum([len(text) for text in texts]))

    def _unsubscribe(self, number: int) -> bytes:
        self.host.close_queries(self, number)
        return b'{"set":%d}' % number

    # -- out ---------------------------------------------------------------------------------

    def snapshot_leaves(self, size: int) -> None:
        """A snapshot goes on its way to the client."""
        self._promised_bytes -= size
        self.unread_snapshot_bytes += size

    def answer(self, ticket: int, reply: bytes) -> None:
        """The answer to request number ``ticket`` is ready; it leaves when those before it have."""
        if ticket != self._next_answer:
            self._waiting[ticket] = [self.frame(reply)]
            return
        self._next_answer = ticket + 1
        if not self.is_closed:
            if not self.outgoing:
                self.host.flush_later(self)
            self.outgoing.append(self.frame(reply))
        while self._waiting and self._next_answer in self._waiting:
            for framed in self._waiting.pop(self._next_answer):
                self.push(framed)
            self._held_bytes = 0
            self._next_answer += 1

    def answer_set(self, ticket: int, reply: bytes) -> None:
        """The answer to a `subscribe`. If it has to wait, the commits after it wait with it: a delta of a query whose
        rows the client has not seen would mean nothing to it."""
        self.answer(ticket, reply)
        if ticket in self._waiting:
            self._set_waits = ticket

    def push_commit(self, framed: bytes) -> None:
        """Queue a commit frame."""
        held = self._waiting.get(self._set_waits) if self._waiting else None
        if held is None:
            self.push(framed)
        elif not self.is_closed:
            held.append(framed)
            self._held_bytes += len(framed)
            if self._held_bytes > self.host.limits.send_queue_bytes_max:
                self.host.cut(self)

    def push(self, framed: bytes) -> None:
        """Queue bytes for the transport."""
        if self.is_closed:
            return
        if not self.outgoing:
            self.host.flush_later(self)
        self.outgoing.append(framed)
