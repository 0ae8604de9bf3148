"""The operator's reducers: what is done to one workflow, by the owner of the database, with a row in the log."""

from __future__ import annotations

from collections.abc import Callable

from reactor.context import Context
from reactor.errors import SenderError
from reactor.module import Module
from workflows.control.commands import Commands
from workflows.control.verbs import Control
from workflows.start import names


class ControlReducers:
    """``workflow_terminate``, ``_suspend``, ``_resume``, ``_retry`` and ``_skip``; each returns whether it applied."""

    def __init__(self, control: Control, commands: Commands) -> None:
        self._control = control
        self._commands = commands

    def declare(self, module: Module) -> None:
        """Add the reducers to ``module``. They check their caller themselves, so that a refusal leaves its row."""
        for function in (
            self.workflow_terminate,
            self.workflow_suspend,
            self.workflow_resume,
            self.workflow_retry,
            self.workflow_skip,
        ):
            module.reducer(function)

    def workflow_terminate(self, ctx: Context, id: int | str, reason: str) -> bool:
        """Owner: end a live workflow and its children at once, without running any code of theirs."""
        return self._run(ctx, "terminate", id, reason, self._control.terminate, needs_reason=True)

    def workflow_suspend(self, ctx: Context, id: int | str, reason: str) -> bool:
        """Owner: stop a workflow that waits; its timers are held and what is sent to it is kept until it is resumed."""
        return self._run(ctx, "suspend", id, reason, self._control.suspend, needs_reason=True)

    def workflow_resume(self, ctx: Context, id: int | str, reason: str = "") -> bool:
        """Owner: let a paused workflow go on; what was due meanwhile follows the catch-up policy of each timer."""
        return self._run(ctx, "resume", id, reason, self._control.resume)

    def workflow_retry(self, ctx: Context, id: int | str, reason: str = "") -> bool:
        """Owner: run what a faulted workflow failed in once more, now."""
        return self._run(ctx, "retry", id, reason, self._control.retry)

    def workflow_skip(self, ctx: Context, id: int | str, reason: str = "") -> bool:
        """Owner: give up what a faulted workflow failed in; it waits for what comes next."""
        return self._run(ctx, "skip", id, reason, self._control.skip)

    def _run(
        self,
        ctx: Context,
        verb: str,
        workflow: int | str,
        reason: str,
        act: Callable[[Context, int, str], bool],
        *,
        needs_reason: bool = False,
    ) -> bool:
        row = names.find(ctx, workflow)
        known = workflow if isinstance(workflow, int) else None if row is None else row.id
        with self._commands.command(ctx, verb, known, reason=reason or None) as command:
            if not ctx.is_owner and ctx.sender is not None:
                raise SenderError("forbidden", f"{verb} is for the owner of the database", verb=verb)
            if needs_reason and not reason.strip():
                raise SenderError(
                    "bad_arguments", "parameter reason: say why, for whoever asks later", parameter="reason"
                )
            applied = act(ctx, names.resolve(ctx, workflow), reason)
            command.detail = None if applied else "not applied: its status is another"
        return applied
