"""The handler of a script type: it turns what happens to a workflow into a step of its script.

To the engine a script is a handler like any other. Its state is what it was started with; what it has done since is
its record. Scripts that ran lately are kept in memory, as many as ``LIVE_MAX`` of a type; the others are brought up
from their records when something wakes them. A kept one is used only if the newest row of its record is the very
object it left there: after anything was undone it is not.
"""

from __future__ import annotations

import traceback
from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Any, ClassVar

import msgspec

from reactor.context import Context
from workflows.control.errorlog import put_error
from workflows.failures import HARD, category_of
from workflows.handle import ChildEnd, EventSeen, TaskEnd, Timer, Workflow
from workflows.handler import Handler
from workflows.life import is_live
from workflows.policy import FAIL_AT_ONCE
from workflows.scripts.driver import Driver
from workflows.scripts.errors import (
    BudgetError,
    ContinueAsNew,
    DivergenceError,
    as_failure,
    without_frames,
)
from workflows.scripts.history import History
from workflows.scripts.operations import Node, to_json
from workflows.scripts.renewal import end_run
from workflows.scripts.run import Run
from workflows.scripts.script import Script
from workflows.scripts.tables import PointerStatus

LIVE_MAX = 10_000
RENEWALS_MAX = 10
"""Runs that may end within one step; a script that continues as new without waiting would never come to an end."""
_RUN_STREAM = 1 << 63


def chance_of(ctx: Context, workflow_id: int, number: int) -> int:
    """Where the stream of chance of a run begins. It can be told without telling the seed of the database."""
    return ctx.stream(workflow_id, _RUN_STREAM | number).getrandbits(256)


class ScriptState(msgspec.Struct):
    """What a script's row keeps: the payload of the current run, and when it began (None: with the workflow)."""

    input: msgspec.Raw
    began_at: int | None = None


class Live:
    """A run in memory."""

    __slots__ = ("driver", "run", "script")

    def __init__(self, script: Script, run: Run, driver: Driver) -> None:
        self.script = script
        self.run = run
        self.driver = driver


class ScriptRunner(Handler[ScriptState]):
    """The handler of one script type; ``as_handler`` derives a class of it for each."""

    script_class: ClassVar[type[Script]]
    payload_kind: ClassVar[Any]
    readers: ClassVar[dict[str, Callable[[str], Any]]]

    def __init__(self) -> None:
        self._live: OrderedDict[int, Live] = OrderedDict()
        self.step_policy = self.script_class.step_policy
        self.budget = self.script_class.budget
        self._read_input = msgspec.json.Decoder(self.payload_kind).decode

    def reader(self, signal: str) -> Callable[[str], Any]:
        """The decoder of a signal's payload; ``ValueError`` if the type declares no such signal."""
        found = self.readers.get(signal)
        if found is None:
            declared = ", ".join(self.readers) or "none"
            raise ValueError(f"type {self.name} declares the signals {declared}, not {signal!r}")
        return found

    # -- what happens to a workflow ------------------------------------------------------------

    def begin(self, w: Workflow[ScriptState], payload: Any) -> None:
        """Run the script until it waits for the first time."""
        # A workflow whose start was put off has a row already, made before its run begins.
        began_at = None if w.db.workflow.get(w.id) is None else w.now
        w.state = ScriptState(msgspec.Raw(msgspec.json.encode(payload)), began_at)
        live = self._make(w, 1, payload, w.now)
        self._run(w, live, lambda driver: None)

    def on_timer(self, w: Workflow[ScriptState], timer: Timer) -> None:
        """A sleep is over, or a step is to be tried again."""

        def fire(driver: Driver) -> None:
            for node in driver.nodes.values():
                if node.timer == timer.name:
                    node.op.wake(driver, node, driver.pointer(node))
                    return

        self._wake(w, fire)

    def on_message(self, w: Workflow[ScriptState], name: str) -> None:
        """A signal has been stored that the script waits for."""
        self._wake(w, lambda driver: _tell(driver.waiting("signal", name), "arrived", driver))

    def on_child_end(self, w: Workflow[ScriptState], child: ChildEnd) -> None:
        """A child has ended."""

        def end(driver: Driver) -> None:
            for node in driver.nodes.values():
                if node.op.kind == "child" and driver.pointer(node).ref == child.id:
                    _tell(node, "ended", driver, child)
                    return

        self._wake(w, end)

    def on_task_end(self, w: Workflow[ScriptState], task: TaskEnd) -> None:
        """A task has ended."""
        self._wake(w, lambda driver: _tell(driver.nodes.get(task.pointer_id or 0), "ended", driver, task))

    def on_event(self, w: Workflow[ScriptState], event: EventSeen) -> None:
        """An event was published."""
        self._wake(w, lambda driver: _tell(driver.nodes.get(event.pointer_id or 0), "seen", driver, event))

    def on_cancel(self, w: Workflow[ScriptState], reason: str) -> Any:
        """Let the script clean up with steps."""
        live = self._take(w)
        driver = live.driver
        driver.w, driver.now = w, w.now
        try:
            driver.cancel(reason)
            finish = driver.finish
        finally:
            driver.close()
        if finish is None:
            return None
        if isinstance(finish.error, Exception):
            # What has been cleaned up stays so.
            self._note(w, "on_cancel", finish.error)
        return finish.result

    def on_recover(self, w: Workflow[ScriptState]) -> None:
        """Arm the timers that are missing, and take the signals that nobody has."""

        def look(driver: Driver) -> None:
            for node in list(driver.nodes.values()):
                if node.pointer_id not in driver.nodes:
                    continue
                pointer = driver.pointer(node)
                if node.timer is not None and pointer.sleep_until is not None and w.timer_due(node.timer) is None:
                    w.timer(node.timer, at=pointer.sleep_until, clock=node.op.clock)
                elif node.op.kind == "signal":
                    _tell(node, "arrived", driver)
                    # One thing after another, as a replay will do them.
                    driver.advance()

        self._wake(w, look)

    def on_retry(self, w: Workflow[ScriptState]) -> None:
        """Somebody has decided to run what is parked again."""
        self._decide(w, skip=False)

    def on_skip(self, w: Workflow[ScriptState]) -> None:
        """Somebody has decided to pass over the step that is parked, of several the first: it gives None."""
        self._decide(w, skip=True)

    def _decide(self, w: Workflow[ScriptState], *, skip: bool) -> None:

        def go_on(driver: Driver) -> None:
            for node in list(driver.parked.values()):
                if node.pointer_id not in driver.parked:
                    continue
                if skip:
                    driver.done(node, status=PointerStatus.SKIPPED, error=None)
                    return
                node.op.wake(driver, node, driver.pointer(node))
                driver.advance()

        self._wake(w, go_on)

    def query(self, w: Workflow[ScriptState], method: str, payload: Any) -> Any:
        """Ask the script's instance something; it changes nothing."""
        live = self._take(w)
        live.driver.w = w
        try:
            return getattr(live.script, method)(live.run, payload)
        except HARD:
            raise
        except BaseException as error:
            raise as_failure(error)  # noqa: B904 - the same error, as a rule
        finally:
            live.driver.w = None
            if live.driver.finish is None and is_live(w.row.status):
                self._keep(w.id, live)
            else:
                live.driver.close()

    def update(self, w: Workflow[ScriptState], method: str, payload: Any) -> Any:
        """Change what the script's instance keeps; recorded, and done again at its place in every replay."""
        replies: list[Any] = []

        def change(driver: Driver) -> None:
            driver.mark("update", method, None, to_json(payload))
            if driver.update is not None:
                replies.append(driver.update(method, to_json(payload)))

        self._wake(w, change)
        return replies[0]

    def forget_all(self) -> None:
        """Let go of all runs."""
        for workflow_id in list(self._live):
            self.forget(workflow_id)

    def forget(self, workflow_id: int) -> None:
        """Let go of a run; it is brought up again when it is needed."""
        live = self._live.pop(workflow_id, None)
        if live is not None:
            live.driver.close()

    # -- bringing up, running, leaving -----------------------------------------------------------

    def _wake(self, w: Workflow[ScriptState], deliver: Callable[[Driver], None]) -> None:
        self._run(w, self._take(w), deliver)

    def _run(self, w: Workflow[ScriptState], live: Live, deliver: Callable[[Driver], None]) -> None:
        """One step. A run that raises is not kept: what it did is undone, and it is not."""
        for _ in range(RENEWALS_MAX):
            driver = live.driver
            driver.w, driver.now = w, w.now
            try:
                deliver(driver)
                driver.advance()
                renewal = self._leave(w, live)
                if renewal is None:
                    return
                live = self._renew(w, live, renewal)
            except HARD:
                driver.close()
                raise
            except BaseException as error:
                driver.close()
                raise as_failure(error)  # noqa: B904 - the same error, as a rule
            finally:
                driver.w = None
            deliver = _nothing
        live.driver.close()
        raise RuntimeError(f"it has continued as new {RENEWALS_MAX} times in one step; wait for something in between")

    def _leave(self, w: Workflow[ScriptState], live: Live) -> ContinueAsNew | None:
        """Let the workflow's row show where the script stands."""
        driver = live.driver
        finish, doom = driver.finish, driver.doom
        excess = self.budget.excess(driver.n, driver.bytes, len(driver.nodes))
        if doom is not None:
            driver.close()
            w.terminate(doom)
        elif finish is None and excess is not None:
            driver.close()
            w.fail(excess, category=BudgetError.category)
        elif finish is None:
            self._wait(w, live)
        elif finish.renewal is not None:
            return finish.renewal
        else:
            driver.close()
            w.step = live.run.shown_step or w.step
            if finish.error is None:
                w.complete(finish.result)
            else:
                self._failed(w, finish.error)
        return None

    def _wait(self, w: Workflow[ScriptState], live: Live) -> None:
        driver = live.driver
        w.step = live.run.shown_step or "started"
        tokens = [token for node in driver.nodes.values() if (token := node.op.token())]
        w.waits = ",".join(sorted(set(tokens))) if tokens else None
        w.awaits = bool(driver.nodes)
        w.touched = True
        if driver.parked:
            node = next(iter(driver.parked.values()))
            w.park(f"step {node.op.label} has failed: {driver.pointer(node).error}", category="activity")
        self._keep(w.id, live)

    def _failed(self, w: Workflow[ScriptState], error: BaseException) -> None:
        if self.on_error != FAIL_AT_ONCE:
            raise error
        self._note(w, "script", error)
        w.fail(f"{type(error).__name__}: {error}", category=category_of(error))

    @staticmethod
    def _note(w: Workflow[ScriptState], where: str, error: BaseException) -> None:
        """Leave a row and a line for what a script has raised, with the place."""
        message = f"{type(error).__name__}: {error}"
        w.log(f"{where} has failed: {message}\n{''.join(traceback.format_exception(error))}", "error")
        put_error(w.ctx, w.id, where, category_of(error), message, error=error)
        without_frames(error)

    def _make(self, w: Workflow[ScriptState], number: int, payload: Any, began_at: int) -> Live:
        driver = Driver(w.id, number)
        run = Run(self, driver, lambda: Random(chance_of(driver.w.ctx, driver.workflow_id, number)))
        run.entity_id, run.correlation_id = w.entity_id, w.correlation_id
        run.owner, run.parent_id = w.owner, w.parent_id
        return Live(self.set_off(driver, run, payload, began_at), run, driver)

    def set_off(self, driver: Driver, run: Run, payload: Any, began_at: int) -> Script:
        """Put a new instance of the script at its beginning, and return it."""
        instance = self.script_class()
        driver.update = lambda method, data: getattr(instance, method)(run, self.read_update(method, data))
        driver.begin(instance.run(run, payload), began_at)
        return instance

    def read_input(self, text: Any) -> Any:
        """The payload a run began with. ``DivergenceError`` if it is none for the script as it is now."""
        try:
            return self._read_input(text)
        except msgspec.MsgspecError as error:
            raise DivergenceError(0, "its payload", f"cannot read it: {error}") from None

    def read_update(self, method: str, data: Any) -> Any:
        """The payload of an update, as declared."""
        return None if data is None else msgspec.json.decode(data, type=self.update_kinds[method])

    update_kinds: ClassVar[dict[str, Any]] = {}

    def _take(self, w: Workflow[ScriptState]) -> Live:
        live = self._live.pop(w.id, None)
        pointers = w.db.execution_pointer
        if live is not None:
            newest = live.driver.newest
            if live.driver.run == w.row.run and newest is not None and pointers.get(newest.id) is newest:
                return live
            live.driver.close()
        state = w.state
        began_at = w.row.created_at if state.began_at is None else state.began_at
        live = self._make(w, w.row.run, self.read_input(state.input), began_at)
        rows = [row for row in pointers.lookup(("workflow_id",), (w.id,)) if row.run == w.row.run]
        live.driver.w = w
        try:
            history = History(rows)
            try:
                live.driver.replay(history)
            except DivergenceError:
                # One that was ended in the middle of a step goes further than it did; it is only asked something.
                if is_live(w.row.status) or live.driver.n < history.last:
                    raise
        except BaseException:
            live.driver.close()
            raise
        finally:
            live.driver.w = None
        return live

    def _keep(self, workflow_id: int, live: Live) -> None:
        self._live[workflow_id] = live
        if len(self._live) > LIVE_MAX:
            _, oldest = self._live.popitem(last=False)
            oldest.driver.close()

    # -- beginning anew ------------------------------------------------------------------------

    def _renew(self, w: Workflow[ScriptState], live: Live, renewal: ContinueAsNew) -> Live:
        """End a run and make the next. What the old one still waited for goes, its record too."""
        began_at = w.state.began_at
        if began_at is None:
            began_at = w.now if w.row is None else w.row.created_at
        end_run(w, live.driver, began_at)
        payload = self._payload(renewal.payload)
        w.state = ScriptState(msgspec.Raw(msgspec.json.encode(payload)), w.now)
        w.run, w.step = live.driver.run + 1, "started"
        return self._make(w, w.run, payload, w.now)

    def _payload(self, given: Any) -> Any:
        """The payload of the next run; the same checks as at a start. ``ValueError`` if it is not what is declared."""
        if isinstance(given, self.payload_kind):
            return given
        return msgspec.convert({} if given is None else given, self.payload_kind)


def _tell(node: Node | None, method: str, driver: Driver, *args: Any) -> None:
    """Tell an open operation what it has waited for; one that is no longer open needs nothing."""
    if node is not None:
        getattr(node.op, method)(driver, node, *args)


def _nothing(driver: Driver) -> None:
    """A run that begins is told nothing but that."""
