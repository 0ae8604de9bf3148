"""Sagas: steps that are undone, newest first, when what comes after them fails."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from workflows.policy import ErrorPolicy, Then
from workflows.scripts.errors import Cancelled, StepFailedError
from workflows.scripts.stepping import StepRun

UNDO_POLICY = ErrorPolicy(attempts=10, then=Then.PARK)
"""An undo that fails is tried longer than other steps, and then waits for somebody: half undone is the worst state."""


class Stepper(Protocol):
    """What a saga needs of its script."""

    def step(self, function: Callable[..., Any], *args: Any, name: str | None, policy: ErrorPolicy | None) -> StepRun:
        """A step to await."""

    def compensated(self, pointer_id: int) -> None:
        """Note in its row that a step has been undone."""


class Undo(NamedTuple):
    """How to undo one step."""

    pointer_id: int
    label: str
    function: Callable[..., Any]
    args: tuple[Any, ...]


class Saga:
    """``async with w.saga() as saga``: leaving it by an exception, or by a cancel, undoes its steps in reverse order.

    Each undo is a step of its own: recorded, run once, tried again if it fails. It is run in the workflow, not outside
    it; what it does in tables is part of the commit that records it.
    """

    def __init__(self, run: Stepper, policy: ErrorPolicy) -> None:
        self._run = run
        self._policy = policy
        self._undos: list[Undo] = []

    async def step(
        self,
        function: Callable[..., Any],
        *args: Any,
        undo: Callable[..., Any],
        name: str | None = None,
        policy: ErrorPolicy | None = None,
    ) -> Any:
        """Run a step, and remember ``undo(ctx, *args)`` for it. A step that fails needs no undo: it is undone."""
        step = self._run.step(function, *args, name=name, policy=policy)
        result = await step
        self._undos.append(Undo(step.pointer_id, step.label, undo, args))
        return result

    async def __aenter__(self) -> Saga:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception | Cancelled):
            await self.compensate()

    async def compensate(self) -> None:
        """Undo what has been done so far, newest first; an undo that fails for good does not hold up the others."""
        failed: StepFailedError | None = None
        while self._undos:
            undo = self._undos.pop()
            step = StepRun(f"undo {undo.label}", undo.function, undo.args, self._policy, undo.pointer_id)
            try:
                await step
            except StepFailedError as error:
                failed = failed or error
            except Cancelled:
                # It waited to be tried again. Now nothing may wait: this is its last attempt.
                self._undos.append(undo)
            else:
                if not step.is_skipped:
                    self._run.compensated(undo.pointer_id)
        if failed is not None:
            raise failed
