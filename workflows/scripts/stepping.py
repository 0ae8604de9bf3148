"""Steps: functions that a script has run for it, once, in the commit that records that they ran."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from workflows.failures import HARD
from workflows.policy import ErrorPolicy, Fatal, Then
from workflows.scripts.errors import StepFailedError, as_failure, without_frames
from workflows.scripts.faults import note_attempt
from workflows.scripts.operations import Live, Node, Operation, to_json
from workflows.scripts.tables import PointerStatus

_decode = msgspec.json.decode
MESSAGE_CHARS_MAX = 2_000


class StepRun(Operation):
    """``function(ctx, *args)``, with the context of the call in which it runs. Its result is recorded.

    What it did is undone if it raises, and it is tried again as ``policy`` says. ``kind`` is ``step`` or ``undo``.
    """

    is_timed = True
    clock = "wall"
    __slots__ = ("_args", "_function", "_policy", "_undoes", "is_skipped", "kind", "pointer_id")

    def __init__(
        self,
        label: str,
        function: Callable[..., Any],
        args: Sequence[Any],
        policy: ErrorPolicy,
        undoes: int | None = None,
    ) -> None:
        super().__init__(label)
        self._function = function
        self._args = args
        self._policy = policy
        self._undoes = undoes
        self.kind = "step" if undoes is None else "undo"
        self.pointer_id = 0
        self.is_skipped = False

    def begin(self, live: Live, node: Node) -> None:
        """Run it for the first time."""
        columns = {"predecessor_id": self._undoes} if self._undoes is not None else {}
        outcome, error = self._attempt(live)
        if error is None:
            live.at_once(node, outcome=outcome, **columns)
            return
        delay_us = self._noted(live, live.reserve(), 1, error)
        if delay_us is not None:
            live.wait(node, PointerStatus.RETRYING, **self._again(live, node, delay_us), **columns)
        elif self._policy.then is Then.PARK and not live.is_leaving:
            live.wait(node, PointerStatus.PARKED, error=_text(error), **columns)
            live.park(node)
        else:
            self._refuse_terminated(live, error)
            live.at_once(node, status=PointerStatus.FAILED, error=_text(error), **columns)

    def wake(self, live: Live, node: Node, pointer: Any) -> None:
        """Run it again."""
        attempt = pointer.attempt + 1
        outcome, error = self._attempt(live)
        if error is None:
            live.done(node, outcome=outcome, attempt=attempt, error=None)
            return
        delay_us = self._noted(live, pointer.id, attempt, error)
        if delay_us is not None:
            again = self._again(live, node, delay_us)
            live.change(node, status=PointerStatus.RETRYING, attempt=attempt, **again)
        elif self._policy.then is Then.PARK:
            live.change(node, status=PointerStatus.PARKED, attempt=attempt, error=_text(error), sleep_until=None)
            live.park(node)
        else:
            self._refuse_terminated(live, error)
            live.done(node, status=PointerStatus.FAILED, attempt=attempt, error=_text(error))

    def drop(self, live: Live, pointer: Any) -> None:
        """It will not be tried again."""
        if pointer.event_name is not None:
            live.w.cancel_timer(pointer.event_name)

    def value(self, pointer: Any) -> Any:
        """What the function returned, as JSON gives it back."""
        self.pointer_id = pointer.id
        self.is_skipped = pointer.status is PointerStatus.SKIPPED
        if pointer.status is PointerStatus.FAILED:
            raise StepFailedError(pointer.error or "", self.label, pointer.attempt)
        return super().value(pointer)

    def token(self) -> str | None:
        """A timer wakes it; one that is parked waits for somebody's decision."""
        return f"decision:{self.label}" if self._policy.then is Then.PARK else None

    def _attempt(self, live: Live) -> tuple[str | None, Exception | None]:
        ctx = live.w.ctx
        try:
            with ctx.savepoint():
                return _recorded(self._function(ctx, *self._args)), None
        except HARD:
            raise
        except BaseException as error:
            return None, as_failure(error)

    def _noted(self, live: Live, pointer_id: int, attempt: int, error: Exception) -> int | None:
        """The delay before the next attempt, None if there is none; the failed one leaves a row and a line."""
        delay_us = None if live.is_leaving else self._policy.delay_us(attempt, error)
        trace = "".join(traceback.format_exception(error))
        live.w.log(f"step {self.label}, attempt {attempt}: {_text(error)}\n{trace}", "warning")
        note_attempt(live.w.ctx, live.w.id, pointer_id, self.label, attempt, error, delay_us)
        without_frames(error)
        return delay_us

    def _again(self, live: Live, node: Node, delay_us: int) -> dict[str, Any]:
        if node.timer is None:
            node.timer = live.timer_name(f"retry {self.label}")
        due = live.w.timer(node.timer, at=live.now + delay_us, clock="wall")
        return {"sleep_until": due, "event_name": node.timer}

    def _refuse_terminated(self, live: Live, error: Exception) -> None:
        if self._policy.then is Then.TERMINATE:
            live.terminate(f"step {self.label}: {_text(error)}")


def _recorded(result: Any) -> str | None:
    try:
        return to_json(result)
    except TypeError as error:
        if inspect.iscoroutine(result):
            result.close()
            raise Fatal("a step is an ordinary function: it runs whole, so it cannot be async") from None
        # It would return the same again.
        raise Fatal(f"a step returns what JSON can say: {error}") from None


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:MESSAGE_CHARS_MAX]
