"""Signals: what others tell a workflow, by name and with a payload it has declared."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from reactor.errors import SenderError
from workflows.handle import Cause, Deferred
from workflows.life import Status
from workflows.steps import Steps


class Signalling:
    """Sends signals."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def hold(self, ctx: Context, row: Any, hook: str, argument: Any, cause: Cause) -> None:
        """Keep what is told to a workflow that can take no step now, until it can."""
        raise NotImplementedError

    def signal(self, ctx: Context, workflow_id: int, name: str, payload: Any) -> Status:
        """Send a signal and return the status after it.

        ``SenderError``: ``unknown_workflow``, ``not_active``, ``unknown_type``, ``unknown_signal``, ``bad_arguments``,
        ``payload_too_large``, or what the handler raised; nothing is stored then.
        """
        inside = self._steps.open.get(workflow_id)
        row: Any = None if inside is not None else self._steps.live_row(ctx, workflow_id)
        kind = self._steps.registry.require(row.workflow_type if inside is None else inside.type)
        declared = kind.signals.get(name)
        if declared is None:
            takes = f"it takes {', '.join(kind.signals)}" if kind.signals else "it takes none"
            raise SenderError(
                "unknown_signal",
                f"workflow type {kind.name} declares no signal {name!r}; {takes}",
                signal=name,
                known_signals=list(kind.signals),
            )
        reader, function = declared
        given = reader.read(payload, self._steps.limits.payload_bytes_max)
        if inside is not None:
            return self._steps.defer(inside, Deferred("signal", name, given))
        return self._steps.step(ctx, row, kind, function, given, Cause("signal", name), refusable=True)
