"""The engine: ``turn(inbox, now)`` is the only place where calls, timers, tables and subscriptions meet.

A turn fires the timers that are due, then runs the requests that are waiting, each alone and whole, and returns what
came of it: one log group, and the effects in order. It touches no socket, file, thread, clock or random source.
Nothing it returns may be shown to anyone before the log says that the group is durable; that is the host's part.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from reactor.budget import BudgetGuard, CallBudgetExceededError, NoGuard
from reactor.columns import INT64_MAX
from reactor.context import Context, Shared
from reactor.counters import Counters
from reactor.derived import DerivedIndex
from reactor.errors import Fault, ReactorError, SenderError, invariant, plain_text
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.live import Subscriptions
from reactor.messages import SYSTEM, Batch, Call, Caller, Deltas, Inspect, Reply, Request, Task, Turn
from reactor.module import Program, Reducer
from reactor.results import encode_result
from reactor.scopes import CLOCK_TABLE, Scopes
from reactor.store import Store
from reactor.system import REQUEST_TABLE, SEED_TABLE, TIMER_ERROR_TABLE
from reactor.table import Change
from reactor.timers import DueTimer, Firing, TimerInfo, Timers, clock_of, is_pending, plan_firing

LogSink = Callable[[int, str, str, str], None]
_encode_group = msgspec.msgpack.Encoder().encode

_TORN = "a change was broken off for want of stack or memory, and the reducer went on as if nothing had happened"


class Engine:
    """Tables, timers and subscriptions of one program, moved forward by ``turn``."""

    def __init__(
        self,
        program: Program,
        numbers: Mapping[str, int],
        *,
        limits: Limits = DEFAULT_LIMITS,
        seed: int = 0,
        guard: BudgetGuard | None = None,
        log: LogSink = lambda at, level, logger, message: None,
    ) -> None:
        self.program = program
        self.limits = limits
        self.store = Store(program.tables.values(), numbers, limits)
        self.scopes = Scopes(self.store.tables[CLOCK_TABLE])
        self.timers = Timers(self.scopes)
        self.subscriptions = Subscriptions(self.store.tables)
        self.counters = Counters()
        self.seq = 0
        self.halted: str | None = None
        self.trusted: frozenset[DerivedIndex] = frozenset()
        """The derived indexes that covered every row when the store was opened."""
        self._committing = False
        self._guard = guard or NoGuard()
        self._begin = self.store.begin
        self._budget_s = limits.call_budget_s
        self._log = log
        self._reducers = program.reducers
        self._requests = self.store.tables[REQUEST_TABLE]
        self._errors = self.store.tables[TIMER_ERROR_TABLE]
        self._shared = Shared(self.store, self.scopes, program.extensions, log, seed)
        self._shared.limits = limits
        self._now = 0
        self._commits: list[tuple[int, list[Change]]] = []
        self._records: list[Any] = []
        self._effects: list[Reply | Deltas] = []

    # -- one turn ----------------------------------------------------------------------------

    def turn(self, inbox: Sequence[Request], now: int, *, timers: bool = True) -> Turn:
        """Fire due timers (at most ``timers_per_turn_max``), then run ``inbox``; ``now`` in µs."""
        self._now = now
        first = self.seq + 1
        self._guard.arm()
        try:
            if timers and self.halted is None:
                self._fire_due(now)
            for request in inbox:
                try:
                    if type(request) is Call:
                        self._run_call(request)
                    else:
                        self._run_other(request)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    self._contain(request, error)
        finally:
            self._guard.disarm()
        payload = _encode_group(self._records) if self._records else b""
        self.counters.calls += len(inbox)
        self.counters.commits += len(self._commits)
        done = Turn(self._effects, first, self.seq, payload, self._commits)
        self._effects, self._commits, self._records = [], [], []
        return done

    def draw_from_stored_seed(self, ctx: Context) -> None:
        """Take the database's seed from its table, where the first start has put it."""
        seeds = self.store.tables[SEED_TABLE]
        row = seeds.get(1) or seeds.insert(id=1, value=f"{self._shared.seed:x}")
        self._shared.seed = int(row.value, 16)

    def look(self) -> Context:
        """A context outside of any call, for what looks at the tables and changes nothing."""
        row = self.store.tables[SEED_TABLE].get(1)
        if row is not None:
            self._shared.seed = int(row.value, 16)
        return Context(self._shared, "look", self._now, 0, SYSTEM)

    def adopt(self, program: Program) -> None:
        """Go on with another program over the same tables; between two turns. See ``reactor.reloading``."""
        self.program = program
        self._reducers = program.reducers
        self._shared.adopt(program.extensions)

    @property
    def commits_of_turn(self) -> Sequence[tuple[int, list[Change]]]:
        """What the running turn has committed so far."""
        return self._commits

    def next_due(self) -> int | None:
        """The wall instant (µs) at which a turn should fire timers; None while none is pending."""
        return self.timers.next_due() if self.halted is None else None

    # -- requests ----------------------------------------------------------------------------

    def _contain(self, request: Request, error: BaseException) -> None:
        """The last net under a request: what nobody foresaw harms this request alone, unless it broke a commit."""
        if self._committing:
            raise error
        if self.store.is_running:
            self.store.rollback()
        self.counters.failed += 1
        self._effects.append(Reply(self.seq, request.token, self._failure(type(request).__name__.lower(), error)))

    def _run_other(self, request: Request) -> None:
        if isinstance(request, Inspect):
            try:
                body: Any = request.function()
            except ReactorError as error:
                body = error
            self._effects.append(Reply(self.seq, request.token, body))
        elif isinstance(request, Batch):
            self._run_batch(request)
        elif isinstance(request, Task):
            if self.halted is not None:
                self._effects.append(Reply(self.seq, request.token, self._read_only()))
                return
            self._attempt(request.name, request.caller, request.token, None, request.function, (), request.budget_s)

    def _run_call(self, call: Call) -> None:
        try:
            reducer = self._admit(call.reducer, call.caller)
            args = call.args
            values = reducer.arguments.decode(args) if type(args) is bytes else reducer.arguments.convert(args)
            if call.key is not None:
                answered = self._answered(call.key, call.caller, call.reducer, args)
                if answered is not None:
                    self._effects.append(Reply(self.seq, call.token, answered))
                    return
        except ReactorError as error:
            self.counters.failed += 1
            self._effects.append(Reply(self.seq, call.token, error))
            return
        self._attempt(call.reducer, call.caller, call.token, call, reducer.function, values, None)

    def _admit(self, name: str, caller: Caller) -> Reducer:
        reducer = self._reducers.get(name)
        if reducer is None:
            if name in self.program.reports:
                raise SenderError("bad_message", f"{name} is a report: it reads only, so it stands in no batch")
            raise SenderError("unknown_reducer", f"there is no reducer {name!r}; `reactor describe` lists them")
        if self.halted is not None:
            raise self._read_only()
        if reducer.access != "public" and caller.identity is not None:
            if reducer.access == "internal":
                raise SenderError("forbidden", f"{name} is run by the reactor alone")
            if not caller.is_owner:
                raise SenderError("forbidden", f"{name} is for the owner of the database")
        return reducer

    def _read_only(self) -> Fault:
        return Fault("read_only", f"nothing can be changed now: {self.halted}")

    def _attempt(
        self,
        name: str,
        caller: Caller,
        token: Any,
        keyed: Call | Batch | None,
        function: Callable[..., Any],
        values: tuple[Any, ...],
        budget_s: float | None,
    ) -> bool:
        """Run one function as a call: commit and answer, or undo and answer with the error."""
        self._shared.attempts += 1
        ctx = Context(self._shared, name, self._now, self.seq + 1, caller)
        key = keyed.key if keyed is not None else None
        guard = self._guard
        body: Any
        self._begin()
        try:
            guard.enter(budget_s or self._budget_s)
            result = function(ctx, *values)
            guard.leave()
            invariant(not self.store.is_torn, _TORN)
            body = b"null" if result is None else encode_result(result, name)
            if key is not None:
                self._remember(keyed, body)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # sys.exit() in a reducer, or asyncio's CancelledError, is no way to stop a server.
            guard.leave()
            self.store.rollback()
            self.counters.failed += 1
            failure = self._failure(name, error)
            if isinstance(failure, SenderError) and (key is not None or ctx.traces):
                self._begin()
                self._remember(keyed, failure)
                self._leave_traces(ctx, failure)
                self._commit(name, caller.identity, key)
            self._effects.append(Reply(self.seq, token, failure))
            return False
        finally:
            # They and the context refer to each other, and nobody looks for circles here.
            ctx.made_extensions = None
        self._commit(name, caller.identity, key)
        self._effects.append(Reply(self.seq, token, body))
        return True

    def _leave_traces(self, refused: Context, error: SenderError) -> None:
        """Run what the refused call wanted to leave behind; whatever fails in it leaves nothing."""
        for trace in refused.traces:
            ctx = Context(self._shared, refused.reducer, self._now, self.seq + 1, refused.caller)
            try:
                with self.store.savepoint():
                    self._guard.enter(self._budget_s)
                    trace(ctx, error)
                    self._guard.leave()
            except KeyboardInterrupt:
                raise
            except BaseException as failure:
                self._guard.leave()
                self._failure(refused.reducer, failure)
            finally:
                ctx.made_extensions = None
        invariant(not self.store.is_torn, _TORN)

    def _run_batch(self, batch: Batch) -> None:
        prepared: list[tuple[Reducer, tuple[Any, ...]]] = []
        try:
            if batch.key is not None:
                answered = self._answered(batch.key, batch.caller, "batch", _joined(batch))
                if answered is not None:
                    self._effects.append(Reply(self.seq, batch.token, answered))
                    return
            for name, args in batch.calls:
                reducer = self._admit(name, batch.caller)
                prepared.append((reducer, reducer.arguments.decode(args)))
        except ReactorError as error:
            if error.code not in ("key_reused", "bad_message"):
                error.details.setdefault("index", len(prepared))
            self._effects.append(Reply(self.seq, batch.token, error))
            return

        def run(ctx: Context) -> list[Any]:
            results = []
            for index, (reducer, values) in enumerate(prepared):
                try:
                    results.append(reducer.function(ctx, *values))
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    failure = self._failure(reducer.name, error)
                    failure.details["index"] = index
                    raise failure from error
            return results

        self._attempt("batch", batch.caller, batch.token, batch, run, (), None)

    # -- the end of a call -------------------------------------------------------------------

    def _commit(self, name: str, caller: str | None, key: str | None) -> None:
        changes = self.store.commit()
        if not changes:
            return
        self._committing = True
        self.seq = seq = self.seq + 1
        flat: list[Any] = []
        for table, row_key, old, new in changes:
            if new is None:
                flat += (-table.number, row_key if table.is_plain else table.log_key(row_key))
            else:
                flat += (table.number, new if table.is_plain else table.log_row(new))
            if table.is_scheduled:
                self.timers.changed(table, row_key, old, new)
        self._records.append((seq, self._now, name, caller, key, flat))
        self._commits.append((seq, changes))
        deltas = self.subscriptions.deltas(changes)
        if deltas:
            self._effects.append(Deltas(seq, self._now, deltas))
        self._committing = False

    def undo(self, commits: Sequence[tuple[int, list[Change]]]) -> None:
        """Take back commits that could not be stored, given oldest first; seq goes back with them."""
        for seq, changes in reversed(commits):
            self.store.undo(changes)
            for table, key, old, new in reversed(changes):
                if table.is_scheduled:
                    self.timers.changed(table, key, new, old)
            self.subscriptions.undo(changes)
            self.seq = seq - 1

    def _failure(self, name: str, error: BaseException) -> ReactorError:
        if isinstance(error, ReactorError):
            if isinstance(error, Fault) and error.code != "bad_result":
                self._log(self._now, "error", name, error.message)
            return error
        if isinstance(error, CallBudgetExceededError):
            self._log(self._now, "error", name, "ran past its budget and was interrupted and undone")
            limit = self.limits.call_budget_s
            return Fault("budget_exceeded", f"{name} ran longer than {limit} s and was undone; do less in one call")
        text = plain_text("".join(traceback.format_exception(error)))
        self._log(self._now, "error", name, f"raised {_shown(error)}\n{text}")
        return Fault("internal", f"{name} failed; nothing was changed and the server's log has the details")

    # -- idempotency keys --------------------------------------------------------------------

    def _answered(self, key: str, caller: Caller, name: str, args: Any) -> bytes | ReactorError | None:
        """The stored answer for this caller's key; None if it is new."""
        if not 0 < len(key) <= self.limits.request_key_chars_max:
            raise SenderError("bad_message", f"a key has 1 to {self.limits.request_key_chars_max} characters")
        row = self._requests.get(f"{caller.identity}|{key}")
        if row is None:
            return None
        if row.fingerprint != _fingerprint(name, args):
            raise SenderError("key_reused", f"key {key!r} was already used for another request; use a new one")
        stored: str = row.answer
        if stored.startswith("!"):
            told = orjson.loads(stored[1:])
            return SenderError(told.pop("code"), told.pop("message"), **told)
        return stored.encode()

    def _remember(self, keyed: Call | Batch | None, body: bytes | SenderError) -> None:
        if keyed is None or keyed.key is None:
            return
        if isinstance(keyed, Call):
            mark = _fingerprint(keyed.reducer, keyed.args)
        else:
            mark = _fingerprint("batch", _joined(keyed))
        answer = body.decode() if isinstance(body, bytes) else "!" + orjson.dumps(body.to_json()).decode()
        self._requests.insert(
            id=f"{keyed.caller.identity}|{keyed.key}", fingerprint=mark, answer=answer, created_at=self._now
        )

    # -- timers ------------------------------------------------------------------------------

    def _fire_due(self, now: int) -> None:
        for _ in range(self.limits.timers_per_turn_max):
            due = self.timers.pop_due(now)
            if due is None:
                return
            self._fire(due, now)

    def _fire(self, due: DueTimer, now: int) -> None:
        row = due.table.rows[due.key]
        clock = clock_of(row)
        firing = plan_firing(row, due.due_value, self.scopes.value_at(clock, now))
        name = due.table.schema.scheduled or ""
        self.counters.missed += firing.missed - (getattr(row, "missed", None) or 0)
        if not firing.run:
            self._begin()
            self._consume_surely(due, row, firing, name)
            self._commit(name, None, None)
            return
        due_at = self.scopes.wall_of(clock, firing.due_value) or due.due_at
        lateness = now - due_at
        self.counters.late(lateness)
        ctx = Context(self._shared, name, due_at, self.seq + 1, SYSTEM)
        ctx.timer = TimerInfo(due.table.name, due.key, clock, firing.due_value, due_at, now, lateness, firing.missed)
        self._begin()
        try:
            self._guard.enter(self._budget_s)
            self._reducers[name].function(ctx, row)
            self._guard.leave()
            invariant(not self.store.is_torn, _TORN)
            self._consume(due, row, firing)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._guard.leave()
            self.store.rollback()
            self._fire_failed(due, row, firing, ctx, error)
            return
        finally:
            ctx.made_extensions = None
        self._commit(name, None, None)

    def _fire_failed(self, due: DueTimer, row: Any, firing: Firing, ctx: Context, error: BaseException) -> None:
        """The handler raised: the timer counts as fired, and a row tells why nothing came of it."""
        self.counters.timer_failures += 1
        failure = self._failure(ctx.reducer, error)
        shown = plain_text(failure.message) if isinstance(error, ReactorError) else _shown(error)
        self._begin()
        self._consume_surely(due, row, firing, ctx.reducer)
        errors = self._errors
        if len(errors) >= self.limits.timer_errors_max:
            errors.delete(next(iter(errors.rows)))
        errors.insert(
            table_name=due.table.name, scheduled_id=due.key, due_at=ctx.now, fired_at=self._now, message=shown[:2000]
        )
        self._commit(ctx.reducer, None, None)

    def _consume_surely(self, due: DueTimer, row: Any, firing: Firing, name: str) -> None:
        """Consume an occurrence; where a rule of the table forbids its next value, delete the row."""
        try:
            self._consume(due, row, firing)
        except ReactorError as error:
            self.store.rollback()
            self._log(self._now, "error", name, f"a timer of {due.table.name} cannot go on and is deleted: {error}")
            self._begin()
            due.table.delete(due.key)

    def _consume(self, due: DueTimer, row: Any, firing: Firing) -> None:
        """Advance or delete the timer's row in the commit of its effects, unless the handler has already moved it."""
        current = due.table.rows.get(due.key)
        if current is None or not is_pending(current) or current.scheduled_at != row.scheduled_at:
            return
        if getattr(current, "generation", 0) != getattr(row, "generation", 0):
            # Rescheduled to the very same instant: the new occurrence is the handler's will.
            self.timers.put_back(due)
            return
        if clock_of(current) != clock_of(row):
            return
        next_due = firing.next_due
        interval = getattr(current, "interval", None)
        if interval != getattr(row, "interval", None):
            # The handler has given it another pace, which begins now.
            next_due = firing.due_value + interval if interval and interval > 0 else None
        if next_due is None or next_due > INT64_MAX:
            due.table.delete(due.key)
            return
        advanced: dict[str, Any] = {"scheduled_at": next_due}
        if hasattr(row, "missed"):
            highest = due.table.schema.column("missed").type.high or 0
            advanced["missed"] = 0 if firing.run else min(firing.missed, highest)
        due.table.update(due.key, **advanced)


def _joined(batch: Batch) -> bytes:
    return b"\0".join(part for name, args in batch.calls for part in (name.encode(), args))


def _fingerprint(name: str, args: Any) -> str:
    raw = args if isinstance(args, bytes) else repr(args).encode()
    return hashlib.blake2b(name.encode() + b"\0" + raw, digest_size=8).hexdigest()


def _shown(error: BaseException) -> str:
    try:
        return plain_text(f"{type(error).__name__}: {error}")
    except Exception:
        return type(error).__name__
