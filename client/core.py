"""The client's half of the protocol, without a socket, a clock or a thread.

    core = ClientCore()
    core.connection_made()
    core.receive(frame)        # -> [Hello(...)]
    core.call("hit", [7, 5])   # -> 1, the request's id
    core.bytes_to_send()       # -> [b'{"id":1,"call":"hit","args":[7,5]}']
    core.receive(frame)        # -> [CommitApplied(...)], then [Reply(id=1, ...)]
    core.connection_lost()     # -> [Failure(id=2, ConnectionLost)] for what is now in doubt

Requests may be made at any time; while there is no connection they wait. What becomes of them when the connection
is lost depends on whether they were sent and whether sending them twice does harm:

    never sent                      wait for the next connection
    sql, subscribe                  sent again (they change nothing)
    call, batch with a key          sent again (the server carries out the same key once)
    call, batch without a key, time fail with ConnectionLost: the outcome is in doubt
    unsubscribe                     done when the next connection is there, which knows nothing of the set

On a new connection every active set is subscribed again, with a point of resume where that can work. All else
waits until the answers are in; then the mirror takes one step and ``Restored`` tells what really differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from client.errors import (
    BadRequest,
    CallFailed,
    ConnectionClosed,
    ConnectionLost,
    ProtocolViolation,
    Unavailable,
)
from client.messages import (
    GOODBYE_CODES,
    Arguments,
    CommitApplied,
    Complaint,
    Event,
    Failure,
    Goodbye,
    Hello,
    RawAnswer,
    RawCommit,
    Reply,
    Restored,
    SetApplied,
    SetClosed,
    decode,
    decode_set,
    sql_result,
)
from client.mirror import Applied, Edit, Mirror, Query, View
from client.requests import Request, Requests
from client.sets import EarlyDeltas, LiveSet, Restoration, Staged, StaleShape, edit_of, shape_of

_NOTHING = Applied([], [])


class Abandon(Exception):
    """This connection is of no use; close it and make another one later. ``receive`` raises it."""


class ClientCore:
    """A connection without a connection. ``token`` is presented by whoever opens the socket."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self.mirror = Mirror()
        self.hello: Hello | None = None
        """The greeting of the present connection, or of the last one."""
        self.connected = False
        """Whether the present connection has greeted us."""
        self.history_id: str | None = None
        self.last_seq = 0
        """The mirror contains every commit up to this number: the point of resume."""
        self._seen_seq = 0
        self._requests = Requests()
        self._sets: dict[int, LiveSet] = {}
        self._ending: dict[LiveSet, None] = {}
        self._live: dict[int, Query] = {}
        self._early = EarlyDeltas()
        self._restoration: Restoration | None = None

    # Requests. Each returns its id and raises BadRequest when it cannot be sent at all.

    def call(self, reducer: str, args: Arguments = (), key: str | None = None) -> int:
        """Run a reducer. With a ``key`` the same call is carried out once however often it is sent."""
        return self._request("call", {"call": reducer, **_with_args(args), **_with_key(key)}, key is not None)

    def batch(self, calls: Sequence[tuple[str, Arguments]], key: str | None = None) -> int:
        """Run several reducers in one commit, all or nothing."""
        body = [{"call": reducer, **_with_args(args)} for reducer, args in calls]
        return self._request("batch", {"batch": body, **_with_key(key)}, key is not None)

    def sql(self, sql: str, params: Arguments | None = None) -> int:
        """Ask for people's SQL, ``params`` by position or name."""
        return self._request("sql", {"sql": sql, **({} if params is None else {"params": params})}, True)

    def time(self, echo: Any = 0) -> int:
        """Ask for the server's clocks; ``echo`` (anything but null) comes back with the answer."""
        return self._request("time", {"time": echo}, False)

    def subscribe(self, queries: Sequence[str], view: View | None = None) -> int:
        """Subscribe to a set of live queries; the id is also the set's. ``view`` may already have listeners."""
        texts = tuple(dict.fromkeys(queries))
        if not texts:
            raise BadRequest("a subscription needs at least one query")
        live_set = LiveSet(self._requests.next_id, texts, view or View(self.mirror))
        return self._request("subscribe", {"subscribe": list(texts)}, True, live_set)

    def unsubscribe(self, set_id: int) -> int:
        """End an active set. Its rows leave the mirror when the server has acknowledged it."""
        live_set = self._sets.get(set_id)
        if live_set is None or not live_set.active:
            raise BadRequest("the subscription set is not active")
        request = self._request("unsubscribe", {}, True, live_set)
        live_set.active = False
        self._ending[live_set] = None
        return request

    def view(self, set_id: int) -> View:
        """The rows of an active set. Raises ``KeyError`` once it has ended."""
        return self._sets[set_id].view

    def is_active(self, set_id: int) -> bool:
        """Whether the set is subscribed and not about to end."""
        live_set = self._sets.get(set_id)
        return live_set is not None and live_set.active

    @property
    def unanswered(self) -> int:
        """How many requests wait or are on their way."""
        return len(self._requests)

    # The connection's life.

    def connection_made(self) -> None:
        """A socket is open; the greeting is to come."""
        self.connected = False
        self._seen_seq = 0

    def bytes_to_send(self) -> list[bytes]:
        """The messages to send now, one text frame each; each is handed out once."""
        return self._requests.take_outgoing()

    def receive(self, frame: str | bytes) -> list[Event]:
        """Take in one frame. What it did to the mirror is done when this returns.

        Raises ``ProtocolViolation`` if the server broke the protocol, ``Abandon`` if it cannot serve us now.
        """
        message = decode(frame)
        if isinstance(message, CallFailed):
            if message.code in GOODBYE_CODES or not self.connected:
                return [Goodbye(message)]
            return [Complaint(message)]
        if isinstance(message, Hello):
            return self._greeted(message)
        if not self.connected:
            raise ProtocolViolation("the server spoke before its greeting")
        if isinstance(message, RawCommit):
            return self._commit(message)
        return self._answer(message)

    def connection_lost(self) -> list[Event]:
        """The connection is gone: fail what is in doubt, keep what can be sent again. The mirror stays as it is."""
        self.connected = False
        self._early.forget()
        self._restoration = None
        lost = ConnectionLost("the connection was lost before the answer came; the outcome is in doubt")
        return [Failure(request.id, lost) for request in self._requests.connection_lost()]

    def close(self) -> list[Event]:
        """No connection will follow: fail everything that has no answer."""
        events = self.connection_lost()
        closed = ConnectionClosed("the connection was closed before the answer came")
        events.extend(Failure(request.id, closed) for request in self._requests.take_waiting())
        return events

    # Sending.

    def _request(self, verb: str, body: dict[str, Any], repeatable: bool, live_set: LiveSet | None = None) -> int:
        request = self._requests.make(verb, body, repeatable=repeatable, live_set=live_set)
        self._requests.wait(request)
        self._flush()
        return request.id

    def _flush(self) -> list[Event]:
        """Send what waits, unless the subscriptions must be restored first."""
        if not self.connected or self._restoration:
            return []
        return [Failure(request.id, error) for request, error in self._requests.send_waiting()]

    # Receiving.

    def _greeted(self, hello: Hello) -> list[Event]:
        if self.connected:
            raise ProtocolViolation("the server greeted twice")
        self.connected = True
        self.token = hello.token or self.token
        self._requests.limits = hello.limits
        ending = {request.live_set for request in self._requests.waiting("unsubscribe")}
        sets = [live_set for live_set in self._sets.values() if live_set not in ending]
        self.hello = replace(hello, restoring=bool(self._sets))
        if not self._sets:
            self.history_id, self.last_seq = hello.history_id, 0
            return [self.hello, *self._flush()]
        # A shorter history under the same name has lost commits we have seen: nothing to resume from.
        can_resume = hello.history_id == self.history_id and hello.seq >= self.last_seq
        self._restoration = Restoration(self.mirror)
        for live_set in sets:
            self._restore(live_set, can_resume)
        return [self.hello, *self._restored_if_complete()]

    def _restore(self, live_set: LiveSet, resume: bool) -> None:
        """Subscribe a set again, under a new request."""
        body: dict[str, Any] = {"subscribe": list(live_set.queries)}
        if resume:
            body["resume"] = {"history_id": self.history_id, "seq": self.last_seq}
        request = self._requests.make("subscribe", body, live_set=live_set, internal=True)
        if self._restoration is not None:
            self._restoration.pending[request.id] = live_set
        self._requests.send(request)

    def _commit(self, commit: RawCommit) -> list[Event]:
        if commit.seq <= self._seen_seq:
            raise ProtocolViolation(f"commit {commit.seq} came after a message that told of {self._seen_seq}")
        edits = []
        for delta in commit.deltas:
            if self._requests.subscribing:
                # Also if the query is held now: its set may be ending, and another set with it be on its way.
                self._early.keep(commit.seq, delta)
            query = self._live.get(delta.query)
            if self._restoration:
                self._restoration.fold(delta)
            elif query is not None:
                edits.append(edit_of(query, delta))
        self._advance(commit.seq)
        if not edits:
            return []
        # The server has stopped telling about an ending set; where others share its rows, it sees them change.
        ending = [live_set.view for live_set in self._ending]
        return [CommitApplied(commit.seq, commit.at_us, self.mirror.apply(edits, bystanders=ending))]

    def _advance(self, seq: int) -> None:
        self._seen_seq = max(self._seen_seq, seq)
        if self._restoration is None:
            self.last_seq = max(self.last_seq, self._seen_seq)

    def _answer(self, answer: RawAnswer) -> list[Event]:
        request = self._requests.answered(answer.id)
        if request is None:
            raise ProtocolViolation(f"the server answered request {answer.id!r}, which was not asked")
        if self._restoration:
            events = self._answer_restoring(request, answer)
        elif answer.error is not None:
            events = [Failure(request.id, answer.error)]
            if request.verb == "unsubscribe" and request.live_set:
                self._ending.pop(request.live_set, None)
                request.live_set.active = True
        elif request.verb == "subscribe" and request.live_set:
            events = [self._subscribed(request.live_set, answer)]
        elif request.verb == "unsubscribe" and request.live_set:
            events = [self._unsubscribed(request, request.live_set)]
        elif request.verb == "sql":
            events = [Reply(request.id, sql_result(answer.value, answer.seq), answer.seq)]
        else:
            events = [Reply(request.id, answer.value, answer.seq)]
        if request.verb != "sql":
            # An `sql` answer tells what the reader saw, which may be ahead of the frames on their way to us.
            self._advance(answer.seq)
        if not self._requests.subscribing:
            self._early.forget()
        return [*events, *self._flush()]

    def _subscribed(self, live_set: LiveSet, answer: RawAnswer) -> SetApplied:
        live_set.number, queries = decode_set(answer.value)
        _check_count(live_set, len(queries))
        edits: list[Edit] = []
        for raw in queries:
            query = self._live.get(raw.query)
            if query is None:
                shape = shape_of(raw, self.mirror)
                table = self.mirror.table(raw.table)
                if len(table) and shape is not table.shape:
                    raise ProtocolViolation(f"two queries on table {raw.table} came with different columns")
                query = self._live[raw.query] = Query(raw.query, shape)
                staged = Staged(query)
                staged.put(shape.keyed(raw.rows))
                for delta in self._early.take(raw.query, answer.seq):
                    staged.fold(delta)
                edits.append(staged.edit())
            # Else another set holds it: the mirror is at least as new as these rows.
            live_set.bound.append(query)
        live_set.active = True
        self._sets[live_set.id] = live_set
        ending = [ending.view for ending in self._ending]
        rebind = {live_set.view: list(dict.fromkeys(live_set.bound))}
        applied = self.mirror.apply(edits, rebind, bystanders=ending)
        return SetApplied(live_set.id, answer.seq, applied)

    def _unsubscribed(self, request: Request, live_set: LiveSet) -> SetClosed:
        edits = []
        for query in live_set.view.queries:
            if query.views == [live_set.view]:
                edits.append(Edit(query, {}, set(query.keys)))
                del self._live[query.number]
        del self._sets[live_set.id], self._ending[live_set]
        applied = self.mirror.apply(edits, {live_set.view: []})
        return SetClosed(live_set.id, request.id, None, applied)

    # After a reconnect.

    def _answer_restoring(self, request: Request, answer: RawAnswer) -> list[Event]:
        restoration, live_set = self._restoration, request.live_set
        if restoration is None or live_set is None:
            return []
        if restoration.pending.pop(request.id, None) is None:
            return []  # The end of a set that was subscribed in vain, see below.
        if isinstance(answer.error, Unavailable):
            raise Abandon(answer.error.message)
        if answer.error is not None:
            restoration.lost.append((live_set, answer.error))
            return self._restored_if_complete(answer.seq)
        live_set.number, queries = decode_set(answer.value)
        _check_count(live_set, len(queries))
        try:
            restoration.answer(live_set, queries, answer.seq, self._early)
        except StaleShape:
            # The table has got another column meanwhile: unchanged rows must come again, with it.
            vain = {"unsubscribe": live_set.number}
            self._requests.send(self._requests.make("unsubscribe", vain, live_set=live_set, internal=True))
            self._restore(live_set, resume=False)
        return self._restored_if_complete(answer.seq)

    def _restored_if_complete(self, seq: int = 0) -> list[Event]:
        restoration, hello = self._restoration, self.hello
        if restoration is None or hello is None or restoration.pending:
            return []
        sets = list(self._sets.values())
        stale = list(dict.fromkeys(query for live_set in sets for query in live_set.bound))
        edits = restoration.edits(stale)
        self._live = restoration.live()
        applied = self.mirror.apply(edits, restoration.bind(sets, self._ending))
        self._restoration = None
        self.history_id = hello.history_id
        self.last_seq = max(self._seen_seq, seq)
        events: list[Event] = [Restored(self.last_seq, restoration.resumed, applied)]
        return [*events, *self._close_ended(restoration), *self._flush()]

    def _close_ended(self, restoration: Restoration) -> list[Event]:
        """The sets that did not survive: refused by the server, or unsubscribed while there was no connection."""
        events: list[Event] = []
        for live_set, error in restoration.lost:
            del self._sets[live_set.id]
            events.append(SetClosed(live_set.id, None, error, _NOTHING))
        # One that was let go only after the greeting is subscribed again: that must be undone in the ordinary way.
        for request in self._requests.take_waiting(
            lambda request: request.verb == "unsubscribe" and request.live_set not in restoration.bindings
        ):
            if request.live_set is not None:
                self._sets.pop(request.live_set.id, None)
                self._ending.pop(request.live_set, None)
                events.append(SetClosed(request.live_set.id, request.id, None, _NOTHING))
        return events


def _with_args(args: Arguments) -> dict[str, Arguments]:
    return {"args": args} if args else {}


def _with_key(key: str | None) -> dict[str, str]:
    return {} if key is None else {"key": key}


def _check_count(live_set: LiveSet, count: int) -> None:
    if count != len(live_set.queries):
        raise ProtocolViolation(f"{len(live_set.queries)} queries were asked for, {count} were answered")
