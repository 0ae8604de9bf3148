"""The verbs as game code has them, in ``ctx.workflows``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from reactor.context import Context
from reactor.errors import SenderError
from workflows.dispatch import Dispatcher
from workflows.start import names


class Attempt(NamedTuple):
    """What came of something that may be refused: its ``value``, or what the error says."""

    ok: bool
    value: Any = None
    code: str | None = None
    message: str | None = None
    details: dict[str, Any] | None = None


class ControlVerbs:
    """What operators do to workflows, and every verb in a form that does not raise.

    A workflow is named by its id or its name.

    An ``attempt_`` that is refused is undone alone; the call goes on.
    """

    __slots__ = ()

    _ctx: Context
    _dispatcher: Dispatcher

    def terminate(self, workflow: int | str, reason: str) -> bool:
        """End a workflow and its children without running any code of theirs; raises as ``cancel``."""
        return self._dispatcher.control.terminate(self._ctx, names.resolve(self._ctx, workflow), reason)

    def suspend(self, workflow: int | str, reason: str) -> bool:
        """Stop a workflow until it is resumed; True if it was waiting. Raises as ``cancel``, and ``not_started``."""
        return self._dispatcher.control.suspend(self._ctx, names.resolve(self._ctx, workflow), reason)

    def resume(self, workflow: int | str, reason: str = "") -> bool:
        """Let a workflow go on; True if it was Paused. Raises as ``suspend``."""
        return self._dispatcher.control.resume(self._ctx, names.resolve(self._ctx, workflow), reason)

    def retry(self, workflow: int | str, reason: str = "") -> bool:
        """Run what a workflow failed in once more, now; True if it was Faulted. Raises as ``suspend``."""
        return self._dispatcher.control.retry(self._ctx, names.resolve(self._ctx, workflow), reason)

    def skip(self, workflow: int | str, reason: str = "") -> bool:
        """Give up what a workflow failed in; True if it was Faulted. Raises as ``suspend``, and ``stranded``."""
        return self._dispatcher.control.skip(self._ctx, names.resolve(self._ctx, workflow), reason)

    def attempt_start(self, workflow_type: str, **given: Any) -> Attempt:
        """As ``start``; the value is the id."""
        return self._attempt("start", workflow_type, **given)

    def attempt_signal(self, workflow: int | str, name: str, payload: Any = None, **fields: Any) -> Attempt:
        """As ``signal``; the value is the status after it."""
        return self._attempt("signal", workflow, name, payload, **fields)

    def attempt_cancel(self, workflow: int | str, reason: str) -> Attempt:
        """As ``cancel``; the value is the status after it."""
        return self._attempt("cancel", workflow, reason)

    def attempt_terminate(self, workflow: int | str, reason: str) -> Attempt:
        """As ``terminate``."""
        return self._attempt("terminate", workflow, reason)

    def attempt_suspend(self, workflow: int | str, reason: str) -> Attempt:
        """As ``suspend``; the value says whether it applied."""
        return self._attempt("suspend", workflow, reason)

    def attempt_resume(self, workflow: int | str, reason: str = "") -> Attempt:
        """As ``resume``; the value says whether it applied."""
        return self._attempt("resume", workflow, reason)

    def attempt_retry(self, workflow: int | str, reason: str = "") -> Attempt:
        """As ``retry``; the value says whether it applied."""
        return self._attempt("retry", workflow, reason)

    def attempt_skip(self, workflow: int | str, reason: str = "") -> Attempt:
        """As ``skip``; the value says whether it applied."""
        return self._attempt("skip", workflow, reason)

    def _attempt(self, verb: str, *args: Any, **given: Any) -> Attempt:
        act: Callable[..., Any] = getattr(self, verb)
        try:
            with self._ctx.savepoint():
                return Attempt(True, act(*args, **given))
        except SenderError as error:
            return Attempt(False, None, error.code, error.message, error.details)
