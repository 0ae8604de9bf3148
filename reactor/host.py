"""The host: carries values between sessions, engine and storage, and keeps the promise of durable answers.

What the engine did in a turn goes to the storage as one group; answers and deltas wait in line until the storage
says that their commit is durable. If the storage fails, what waits is undone and its callers are told.
No sockets, threads or clocks here: the server (or a test) hands in a clock, a storage and a way to be woken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from reactor.clock import Clock
from reactor.engine import Engine
from reactor.errors import Fault, ReactorError, SenderError
from reactor.inbox import Inbox
from reactor.lifecycle import Lifecycle, run_alone
from reactor.limits import Limits
from reactor.messages import Call, Caller, Deltas, Inspect, Reply, Request, Task, Turn
from reactor.publishing import Publisher
from reactor.questions import Questions, SqlRunner
from reactor.reports import ReportContext, ReportQuestion
from reactor.scopes import CLOCK_TABLE, WORLD
from reactor.session import (
    CLOSE_POLICY,
    CLOSE_STOPPING,
    CLOSE_TRY_LATER,
    PlainAnswer,
    Session,
    SqlQuestion,
    SubscribeAnswer,
)
from reactor.storage import Group, Storage, joined
from reactor.system import CONNECTION_TABLE
from reactor.table import Change
from reactor.wire import native

_GROUPS_UNDER_WAY = 2
_ANY = float("inf")


class Host:
    """One database being served. Implements ``reactor.storage.StorageEvents`` and ``reactor.session.SessionHost``."""

    def __init__(
        self,
        engine: Engine,
        storage: Storage,
        clock: Clock,
        *,
        durability: str = "full",
        sql: SqlRunner | None = None,
        wake: Callable[[], None] = lambda: None,
        on_lost: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.engine = engine
        self.storage = storage
        self.clock = clock
        self.limits: Limits = engine.limits
        self.durability = durability
        self.database = engine.program.name
        self.wake = wake
        self.on_lost = on_lost
        self.publisher = Publisher(engine.subscriptions, engine.store.tables, self.limits)
        self.lifecycle = Lifecycle(engine.program)
        self.sessions: dict[Session, None] = {}
        self.durable_seq = engine.seq
        self.is_stopping = False
        self.is_lost = False
        self._inbox = Inbox(self.limits, lambda: self.wake())
        self.questions = Questions(storage, sql, self.limits.sql_deadline_s, self.release)
        self._waiting: deque[Reply | Deltas] = deque()
        self._pending: deque[tuple[int, list[Change]]] = deque()
        self._unsynced: deque[tuple[int, int]] = deque()
        self._unsynced_bytes = 0
        self._dirty: list[Session] = []
        self._gathered: list[Group] = []
        self._unannounced: dict[Session, None] = {}
        self._remembered = 0
        self._start_seq = engine.seq
        self._stepped_us = 0
        self._steps: list[tuple[int, int]] = []

    # -- sessions ----------------------------------------------------------------------------

    def connect(self, session: Session) -> None:
        """A client asks to come in: run the module's hooks, then greet it or tell it why not."""
        self.sessions[session] = None
        task = self.lifecycle.connect_task(session.caller)
        if task is None:
            session.open()
            self.flush()
        elif self.engine.halted is not None:
            # Readers go on while nothing can be written; the modules are told of them when it can be again.
            session.open()
            self.flush()
            self._unannounced[session] = None
        elif len(self._inbox) >= self.limits.inbox_calls_max:
            del self.sessions[session]
            raise Fault("overloaded", "too many requests are waiting; connect again later")
        else:
            self._announce(session, task)

    def _announce(self, session: Session, task: Task) -> None:
        """Ask the modules about a session; it is opened, unless it is already, or sent away."""

        def decided(seq: int, body: bytes | ReactorError) -> None:
            if isinstance(body, ReactorError):
                self.sessions.pop(session, None)
                session.refuse(body, CLOSE_TRY_LATER if isinstance(body, Fault) else CLOSE_POLICY)
            elif session.is_closed:
                # It went while it was being let in; what its coming has done is undone by its going.
                self.sessions.pop(session, None)
                self.submit_own(self.lifecycle.disconnect_task(session.caller))
            elif not session.is_open:
                session.open()

        task.token = decided
        self.submit_own(task)

    def disconnect(self, session: Session) -> None:
        """The connection is gone: its queries are closed and the module's hooks run."""
        session.is_closed = True
        if session not in self.sessions:
            return
        del self.sessions[session]
        for number in list(session.sets):
            self.publisher.close_set(session, number)
        if session.is_open:
            self.submit_own(self.lifecycle.disconnect_task(session.caller))

    def greet(self, session: Session) -> bytes:
        """The greeting of the native protocol."""
        return native.encode(
            {
                "hello": {
                    "protocol": native.PROTOCOL,
                    "database": self.database,
                    "identity": session.caller.identity,
                    "token": session.token,
                    "connection_id": session.caller.connection_id,
                    "history_id": self.storage.history_id,
                    "seq": self.durable_seq,
                    "durability": self.durability,
                    "time_us": self.clock.now(),
                    "limits": {
                        "message_bytes_max": self.limits.message_bytes_max,
                        "inflight_max": self.limits.inflight_per_connection_max,
                    },
                }
            }
        )

    def clocks(self, echo: bytes) -> bytes:
        """The time here and how every clock relates to it, so that a client can draw progress without ticks."""
        rows = self.engine.store.tables[CLOCK_TABLE]
        shown = {
            r.scope: {"anchor_wall_us": r.anchor_wall, "anchor_value_us": r.anchor_value, "rate_ppm": r.rate_ppm}
            for r in rows
        }
        return b'{"echo":%b,"time_us":%d,"clocks":%b}' % (echo, self.clock.now(), native.encode(shown))

    def open_queries(self, session: Session, number: int, texts: list[str], resume: Any) -> bytes:
        """Open a set of live queries; runs between two calls, so it sees one state of all tables."""
        if session.is_closed:
            raise SenderError("unknown_subscription", "the connection is closed")
        if session.snapshot_bytes > self.limits.send_queue_bytes_max:
            raise Fault("overloaded", "read the snapshots you have asked for before you ask for more")
        since = None
        if resume is not None and resume.history_id == self.storage.history_id:
            since = resume.seq
        self._remember(self.engine.commits_of_turn)
        return self.publisher.open_set(session, number, texts, since, self.engine.seq)

    def close_queries(self, session: Session, number: int) -> None:
        """Close a set of live queries."""
        self.publisher.close_set(session, number)

    def _remember(self, commits: Sequence[tuple[int, list[Change]]]) -> None:
        """Let the publisher know of a turn's commits, also of those made so far when a client resumes in mid-turn."""
        self.publisher.remember(commits[self._remembered :])
        self._remembered = len(commits)

    def flush_later(self, session: Session) -> None:
        """Remember a session that has something to send."""
        self._dirty.append(session)

    def flush(self) -> None:
        """Hand what is queued to the transports: one write per session."""
        dirty, self._dirty = self._dirty, []
        unread_max = self.limits.send_queue_bytes_max
        for session in dirty:
            out = session.outgoing
            if out:
                session.outgoing = []
                if session.is_closed:
                    continue
                unread = session.send(out[0] if len(out) == 1 else b"".join(out))
                # A snapshot may be larger than the queue: whoever asked for it is given the time to read it.
                if unread > unread_max and unread > unread_max + session.unread_snapshot_bytes:
                    self.cut(session)
                elif not unread:
                    session.unread_snapshot_bytes = 0

    def cut(self, session: Session) -> None:
        """End a session that does not read; nobody else waits for it."""
        if not session.is_closed:
            error = Fault("slow_consumer", "this connection does not read what it is sent; connect again and resume")
            session.refuse(error, CLOSE_TRY_LATER)
            self.disconnect(session)

    # -- requests ----------------------------------------------------------------------------

    def submit(self, request: Request, size_bytes: int = 0) -> None:
        """Queue a request for the next turn; ``Fault`` ``overloaded`` or ``stopping`` when that cannot be."""
        if self.is_stopping:
            raise Fault("stopping", "the reactor is stopping")
        if type(request) is Call and request.reducer in self.engine.program.reports:
            request = self._report(request)
        self._inbox.put(request, size_bytes)

    def _report(self, call: Call) -> Inspect:
        """The call of a report goes through the inbox, so that it sees what the calls before it have done."""
        question = ReportQuestion(call.token or (lambda seq, body: None), call.caller)

        def plan() -> bytes:
            report = self.engine.program.reports.get(call.reducer)
            if report is None:
                raise SenderError("unknown_reducer", f"{call.reducer} has gone with a reload")
            now = ReportContext(call.caller, self.clock.now(), self.limits, self.engine.trusted)
            question.query = report.plan(now, call.args)
            return b""

        return Inspect(plan, question)

    def run_own(self, task: Task) -> None:
        """Run a call of the reactor itself at once, before any timer; raises its error. Between two turns."""
        turn, error = run_alone(self.engine, task, self.clock.now())
        self._take(turn)
        if error is not None:
            raise error

    @property
    def pending_changes(self) -> list[list[Change]]:
        """The changes of the commits that are not durable yet; a failing disk would have them undone."""
        return [changes for _, changes in self._pending]

    def submit_own(self, task: Task | None) -> None:
        """Queue a call of the reactor itself. What a halted store refuses is made up for by ``recovered``, what comes
        after ``stop`` by the next start."""
        if task is not None and not self.is_stopping:
            self._inbox.put_own(task)

    def run_turn(self) -> bool:
        """One turn; True when another should follow at once."""
        if self._unsynced_bytes > self.limits.unsynced_bytes_max:
            return False
        now = self.clock.now()
        batch = self._inbox.take()
        try:
            turn = self.engine.turn(batch, now, timers=self._may_fire)
        except BaseException as error:
            # The engine keeps every mistake of a module to itself; this is one of ours, and memory may be wrong.
            self.lost(f"a defect in the reactor: {type(error).__name__}")
            raise
        self._take(turn)
        due = self.next_due()
        return bool(self._inbox) or (due is not None and due <= now)

    @property
    def _may_fire(self) -> bool:
        """Whether timers may fire: not while live calls would wait for the disk behind too many commits of theirs."""
        return not self.is_stopping and len(self._pending) < self.limits.timer_commits_unsynced_max

    def _take(self, turn: Turn) -> None:
        """Send a turn's group to the storage and put its effects in line."""
        self._waiting.extend(turn.effects)
        if turn.payload:
            self._pending.extend(turn.commits)
            self._unsynced_bytes += len(turn.payload)
            self._gathered.append(Group(turn.first_seq, turn.last_seq, turn.payload))
            self._remember(turn.commits)
            self._remembered = 0
            self._send_group()
        self.release()

    def send_rest(self) -> None:
        """Send what is still gathered, whatever is under way; before the storage is closed."""
        self._send_group(_ANY)

    def _send_group(self, under_way_max: float = _GROUPS_UNDER_WAY) -> None:
        """Send what the last turns have gathered as one group, unless enough of them are being synced already.

        A few that are synced or wait for the disk keep the writer busy; whatever comes meanwhile is better gathered
        here: one write, one wake-up and one answer for many turns.
        """
        if self._gathered and len(self._unsynced) < under_way_max:
            gathered, self._gathered = self._gathered, []
            group = joined(gathered)
            self._unsynced.append((group.last_seq, sum([len(each.payload) for each in gathered])))
            self.storage.append(group)

    def next_due(self) -> int | None:
        """The wall instant (µs) at which a turn should fire timers; None when there is none, or the disk is behind."""
        return self.engine.next_due() if self._may_fire else None

    @property
    def has_requests(self) -> bool:
        """Whether requests wait for a turn."""
        return bool(self._inbox)

    # -- answers -----------------------------------------------------------------------------

    def release(self) -> None:
        """Let out every effect whose commit is durable, in order."""
        waiting, durable = self._waiting, self.durable_seq
        while waiting and waiting[0].seq <= durable:
            effect = waiting.popleft()
            if type(effect) is Reply:
                token = effect.token
                if type(token) is SqlQuestion or type(token) is ReportQuestion:
                    if isinstance(effect.body, ReactorError):
                        token.answer(effect.seq, effect.body)
                    else:
                        self.questions.ask(token, durable, self.clock.now())
                elif token is not None:
                    token(effect.seq, effect.body)
            else:
                self.publisher.publish(effect)  # type: ignore[arg-type]
        if self._dirty:
            self.flush()
        if self.is_stopping and self.sessions and self.is_settled:
            self.say_goodbye()

    # -- what the storage tells ----------------------------------------------------------------

    def durable(self, seq: int) -> None:
        """Everything up to ``seq`` is durable."""
        self.durable_seq = seq
        pending, unsynced = self._pending, self._unsynced
        while pending and pending[0][0] <= seq:
            pending.popleft()
        while unsynced and unsynced[0][0] <= seq:
            self._unsynced_bytes -= unsynced.popleft()[1]
        self._send_group()
        self.release()
        due = self.engine.next_due()
        if self._inbox or self.engine.halted is not None or (due is not None and due <= self.clock.now()):
            self.wake()

    def projected(self, seq: int) -> None:
        """The projection has come to ``seq``."""
        self.questions.projected(seq)

    def failed(self, kind: str, message: str) -> None:
        """Nothing can be written: take back what is not durable, tell its callers, and refuse writers."""
        if self.durable_seq < self._start_seq:
            # The start-up calls run once a start; without them there is nothing to go on from.
            self.lost(f"the store failed while the reactor was starting: {message}")
            return
        # Answers that do not depend on what failed are as good as before.
        self.release()
        self.engine.halted = message
        self.engine.undo(list(self._pending))
        self.publisher.forget_after(self.durable_seq)
        self._pending.clear()
        self._unsynced.clear()
        self._gathered.clear()
        self._unsynced_bytes = 0
        waiting, self._waiting = self._waiting, deque()
        error = Fault(
            "in_doubt",
            f"the store failed before this was durable ({message}); send it again with the same key when it can be "
            "written again",
        )
        for effect in waiting:
            # Deltas of undone commits are nobody's; whoever waits for an answer learns that it is in doubt.
            if isinstance(effect, Reply) and effect.token is not None:
                token, body = effect.token, effect.body if isinstance(effect.token, PlainAnswer) else error
                if isinstance(token, SubscribeAnswer):
                    self.publisher.close_set(token.session, token.set_number, missing_ok=True)
                elif isinstance(token, SqlQuestion | ReportQuestion):
                    token = token.answer
                self._waiting.append(Reply(self.durable_seq, token, body))
        self._stepped_us += sum(forward_us for seq, forward_us in self._steps if seq > self.durable_seq)
        # Those are owed again and will be noted again; kept here as well, a second failure would count them twice.
        self._steps.clear()
        self.storage.reset()
        self.release()
        if self._inbox:
            self.wake()

    def recovered(self) -> None:
        """The storage can be written again; what the halt has kept from being done is made up for."""
        self.engine.halted = None
        present = {session.caller.connection_id for session in self.sessions}
        for row in self.engine.store.tables[CONNECTION_TABLE]:
            if row.connection_id not in present:
                self.submit_own(self.lifecycle.disconnect_task(Caller(row.identity, row.connection_id)))
        unannounced, self._unannounced = self._unannounced, {}
        for session in unannounced:
            task = self.lifecycle.connect_task(session.caller)
            if task is not None and session in self.sessions:
                self._announce(session, task)
        if self._stepped_us:
            stepped, self._stepped_us = self._stepped_us, 0
            self.wall_stepped(stepped)
        self.wake()

    def lost(self, message: str) -> None:
        """The storage is gone: stop, so that the next start can find out what is stored."""
        self.engine.halted = message
        self.is_lost = True
        self.on_lost(message)

    # -- start and stop ------------------------------------------------------------------------

    def start(self, alive_us: int, fresh: bool) -> None:
        """Run the start-up calls: clocks, init or left-over connections, the modules' own recovery.

        ``alive_us`` is when the database was last known to be up. Raises ``Refusal`` when a check of a module or its
        init says no; nothing was stored then.
        """
        self.storage.start(self)
        self._start_seq = self.engine.seq
        for turn in self.lifecycle.start_turns(self.engine, self.clock, alive_us, fresh):
            self._start_seq = turn.last_seq
            self._take(turn)

    def mark_alive(self) -> None:
        """Tell the storage what the clocks show, for the next start."""
        now = self.clock.now()
        self.storage.mark_alive(now, self.engine.scopes.value_at(WORLD, now))

    def wall_stepped(self, forward_us: int) -> None:
        """The wall clock was set forward: every other clock goes on from what it shows, not from what it would."""
        if self.engine.halted is not None:
            self._stepped_us += forward_us
        else:
            # At once and before any timer: to those of the other clocks nothing has happened.
            self._take(self.engine.turn([self.lifecycle.step_task(forward_us)], self.clock.now(), timers=False))
            # Remembered until it is durable: a failing disk would take it back, and the wall does not step twice.
            self._steps = [step for step in self._steps if step[0] > self.durable_seq]
            self._steps.append((self.engine.seq, forward_us))

    def forget_requests(self) -> None:
        """Drop idempotency keys that are older than their retention."""
        self.submit_own(self.lifecycle.forget_task(self.limits, self.forget_requests))

    def stop(self) -> None:
        """Refuse new requests, and say goodbye once everything that was accepted is answered."""
        self.is_stopping = True
        self.release()

    @property
    def is_settled(self) -> bool:
        """Whether everything that was accepted has been run, stored and answered."""
        return not (self._inbox or self._waiting or self._pending or self.questions)

    def say_goodbye(self) -> None:
        """End every session; ``stop`` does so by itself when nothing is left to answer."""
        error = Fault("stopping", "the reactor is stopping; connect again later and resume")
        for session in list(self.sessions):
            # Without the modules' hooks: the next start runs them for everyone who was connected.
            del self.sessions[session]
            session.refuse(error, CLOSE_STOPPING)
