"""What a script works with: its workflow, for the length of its life."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, Protocol

from workflows.policy import ErrorPolicy
from workflows.scripts.budget import HistoryBudget, Pressure
from workflows.scripts.driver import Driver
from workflows.scripts.errors import ContinueAsNew
from workflows.scripts.operations import Awaited, Condition, Group, Operation, Sleep
from workflows.scripts.saga import UNDO_POLICY, Saga
from workflows.scripts.stepping import StepRun
from workflows.scripts.tables import PointerStatus
from workflows.scripts.waits import ChildRun, EventWait, SignalWait, TaskRun


class ScriptFacts(Protocol):
    """What a run needs to know about its type."""

    name: ClassVar[str]
    clock: ClassVar[str]
    step_policy: ErrorPolicy
    budget: HistoryBudget

    def reader(self, signal: str) -> Callable[[str], Any]:
        """The decoder of a signal's payload; ``ValueError`` if the type declares no such signal."""


class Run:
    """A script's workflow. What its methods return is to be awaited, alone or in ``select`` and ``all``.

    A script runs again from its beginning whenever the server no longer has it in memory, with the values its awaits
    gave the first time. So all it does outside, to tables too, it does in steps, and it asks ``w`` for the time and for
    chance. Times are µs.
    """

    def __init__(self, kind: ScriptFacts, driver: Driver, stream: Callable[[], random.Random]) -> None:
        self._kind = kind
        self._driver = driver
        self._stream = stream
        self._random: random.Random | None = None
        self._versions: set[str] = set()
        self._shown: str | None = None
        self.entity_id: int | None = None
        self.correlation_id: str | None = None
        self.owner: str | None = None
        self.parent_id: int | None = None

    # -- what it is --------------------------------------------------------------------------

    @property
    def id(self) -> int:
        """The workflow's id."""
        return self._driver.workflow_id

    @property
    def type(self) -> str:
        """The name of its type."""
        return self._kind.name

    @property
    def number(self) -> int:
        """How often it has begun, this run included."""
        return self._driver.run

    @property
    def is_replaying(self) -> bool:
        """Whether the script does again what it has done before."""
        return self._driver.is_replaying

    # -- time and chance ---------------------------------------------------------------------

    @property
    def now(self) -> int:
        """The logical wall instant of what the script was woken by, µs; the same in every replay."""
        return self._driver.now

    def time(self, clock: str | None = None) -> int:
        """What a clock (by default the type's own) shows now, in its µs; recorded."""
        clock = clock or self._kind.clock
        return self._mark("marker", f"time {clock}", lambda: self._driver.w.time(clock))

    @property
    def random(self) -> random.Random:
        """A stream of chance of this run's own; it gives the same in every replay."""
        if self._random is None:
            self._random = self._stream()
        return self._random

    def new_uuid(self) -> str:
        """A version 4 UUID out of ``random``."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    # -- waits -------------------------------------------------------------------------------

    def sleep(self, after_us: int, *, name: str = "sleep", clock: str | None = None) -> Operation:
        """Until ``after_us`` from now, on a clock (by default the type's own). ``name`` is that of the timer's row."""
        return Sleep(name, max(after_us, 0), None, clock)

    def sleep_until(self, at: int, *, name: str = "sleep", clock: str | None = None) -> Operation:
        """Until a clock shows ``at``."""
        return Sleep(name, None, at, clock)

    def signal(self, name: str) -> Operation:
        """The next signal ``name``, also one that came before anybody waited; gives its payload."""
        return SignalWait(name, self._kind.reader(name))

    def event(self, name: str, key: str = "", *, as_of: int | None = None) -> Operation:
        """A published event of that name and key, no older than ``as_of`` (by default now); gives its data."""
        return EventWait(name, key, as_of)

    def until(self, holds: Callable[[], object], *, key: str) -> Operation:
        """Until ``holds()``, which looks only at what the script itself keeps. ``key`` names it in the record."""
        return Condition(key, holds)

    def child(self, workflow_type: str, **options: Any) -> Operation:
        """Start a workflow that belongs to this one, and wait for its end; gives its result.

        Options as for ``w.start_child`` of handlers. ``ChildFailedError`` if it does not complete.
        """
        return ChildRun(workflow_type, options)

    def task(self, queue: str, name: str, payload: Any = None, **options: Any) -> Operation:
        """Have a worker outside do something, and wait for its result; ``TaskFailedError`` if it is not done.

        Options as for ``ctx.tasks.put``.
        """
        return TaskRun(queue, name, payload, options)

    def step(
        self, function: Callable[..., Any], *args: Any, name: str | None = None, policy: ErrorPolicy | None = None
    ) -> StepRun:
        """Run ``function(ctx, *args)`` once, as part of the commit; gives what it returns, which is recorded as JSON.

        If it raises, what it did is undone, and it is tried again as ``policy`` says; then ``StepFailedError``.
        """
        label = name if name is not None else str(getattr(function, "__name__", "step"))
        return StepRun(label, function, args, policy or self._kind.step_policy)

    def select(self, **operations: Awaited) -> Group:
        """Whichever is over first; gives ``Chosen(name, value)``. The others are cancelled, and their timers with them.

        Of several that are over at once the one named first wins. Coroutines that lose get ``Cancelled`` where they
        wait, and may clean up with steps.
        """
        if not operations:
            raise ValueError("select waits for the first of several: give it at least one")
        return Group(list(operations.values()), list(operations), first=True)

    def all(self, *operations: Awaited) -> Group:
        """All of them, side by side; gives the list of their values. The first error cancels the others."""
        return Group(operations, [""] * len(operations), first=False)

    def saga(self, policy: ErrorPolicy = UNDO_POLICY) -> Saga:
        """``async with w.saga() as saga``: steps with an undo each; see ``Saga``."""
        return Saga(self, policy)

    # -- the course of the run -----------------------------------------------------------------

    def version(self, change_id: str, minimum: int, maximum: int) -> int:
        """Which version of a change this run follows: ``maximum`` for one that comes here for the first time.

        A run whose record has gone past this place before the change was made gets ``minimum``, for ever. Each change
        has an id of its own; ``ValueError`` if one is used twice.
        """
        if change_id in self._versions:
            raise ValueError(f"change {change_id!r} is marked twice in one run; give each change an id of its own")
        self._versions.add(change_id)
        driver = self._driver
        if driver.is_replaying:
            pointer = driver.recorded_mark("version", change_id)
            version = minimum if pointer is None else int(pointer.outcome)
        else:
            driver.mark("version", change_id, maximum)
            version = maximum
        if not minimum <= version <= maximum:
            driver.diverge(f"supports versions {minimum} to {maximum} of change {change_id!r}")
            raise ValueError(f"this run follows version {version} of change {change_id!r}")
        return version

    def continue_as_new(self, payload: Any = None) -> NoReturn:
        """End this run and begin the next, with another payload and an empty record.

        Id, name, entity, attributes and unread signals stay; subscribers see one row that changes.
        """
        raise ContinueAsNew(payload)

    @property
    def pressure(self) -> Pressure:
        """How near the record is to the end of its budget; the same in every replay."""
        driver = self._driver
        return self._kind.budget.pressure(driver.n, driver.bytes, len(driver.nodes))

    @property
    def events(self) -> int:
        """How many events the record of this run has."""
        return self._driver.n

    def show(self, step: str | None) -> None:
        """What ``current_step`` shows; None for the names of what the script waits for."""
        self._shown = step

    def log(self, message: str, level: str = "info") -> None:
        """Write a line to the server's log, but not again in a replay."""
        w = self._driver.w
        # There is no step while a run is let go of.
        if w is not None and not self._driver.is_replaying:
            w.log(message, level)

    # -- for the engine ------------------------------------------------------------------------

    @property
    def shown_step(self) -> str:
        """What ``current_step`` is to show; empty if the script says nothing and waits for nothing."""
        if self._shown is not None:
            return self._shown
        nodes = self._driver.nodes
        return "|".join(dict.fromkeys([node.op.label for node in nodes.values()]))[:100] if nodes else ""

    def compensated(self, pointer_id: int) -> None:
        """For sagas."""
        if not self._driver.is_replaying:
            self._driver.w.db.execution_pointer.update(pointer_id, status=PointerStatus.COMPENSATED)

    def _mark(self, kind: str, label: str, value: Callable[[], int]) -> int:
        driver = self._driver
        if driver.is_replaying:
            pointer = driver.recorded_mark(kind, label)
            if pointer is None:
                raise driver.diverge(f"asks for {kind} {label!r}")
            return int(pointer.outcome)
        found = value()
        driver.mark(kind, label, found)
        return found
