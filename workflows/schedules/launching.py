"""What a run of a schedule does: start a workflow, or call a reducer.

The one place that calls the dispatcher to start, so that what a start may be given is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from reactor.context import Context
from reactor.errors import SenderError
from reactor.module import Reducer
from workflows.attributes.book import mark
from workflows.dispatch import Dispatcher
from workflows.start.options import StartOptions

VERB_PREFIX = "schedule_"


class Launched(NamedTuple):
    """What came of it: the workflow, if it was one; for a command whether there is more to do, and what it said."""

    workflow_id: int | None
    more: bool = False
    told: str | None = None


class Launcher:
    """Starts runs. ``reactor`` is the engine of the running program, known from its start on."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.reactor: Any = None

    @property
    def reducers(self) -> Mapping[str, Reducer]:
        """The reducers of the running program; another version after a reload."""
        found: Mapping[str, Reducer] = {} if self.reactor is None else self.reactor.program.reducers
        return found

    def launch(self, ctx: Context, schedule: Any, run: Any) -> Launched:
        """Do what the schedule is for, as part of the running call. Raises what the start or the command raises.

        ``run.workflow_id`` is the id reserved for the workflow, if any.
        """
        if schedule.command is not None:
            return self.run_command(ctx, schedule)
        options = StartOptions(
            id=run.workflow_id, name=run.run_name, attributes=schedule.attributes, tags=schedule.tags
        )
        workflow_id = self.dispatcher.start(
            ctx,
            schedule.workflow_type,
            schedule.entity_id,
            schedule.correlation_id,
            schedule.payload,
            options=options,
        )
        # The rules of its type may have answered with a workflow that was there before.
        if ctx.db.workflow.require(workflow_id).name == run.run_name:
            mark(ctx, workflow_id, "$schedule", schedule.name)
            mark(ctx, workflow_id, "$nominal_at", run.nominal_at)
        return Launched(workflow_id)

    def run_command(self, ctx: Context, schedule: Any) -> Launched:
        """Call the schedule's reducer once. One that answers ``{"more": true}`` is to be called again soon."""
        reducer, values = self.command(schedule.command, schedule.arguments)
        answer = reducer.function(ctx, *values)
        more = isinstance(answer, dict) and bool(answer.get("more"))
        return Launched(None, more, None if answer is None else orjson.dumps(answer, default=str).decode())

    def command(self, name: str, arguments: Any) -> tuple[Reducer, tuple[Any, ...]]:
        """The reducer and its checked arguments; ``SenderError`` ``bad_arguments``."""
        reducer = self.reducers.get(name)
        if reducer is None or reducer.access == "internal" or name.startswith(VERB_PREFIX):
            known = [n for n, r in self.reducers.items() if r.access != "internal" and not n.startswith(VERB_PREFIX)]
            raise SenderError(
                "bad_arguments",
                f"command: {name!r} is no reducer that a schedule may call; it may call {', '.join(sorted(known))}",
                parameter="command",
            )
        try:
            return reducer, reducer.arguments.decode(orjson.dumps([] if arguments is None else arguments))
        except (SenderError, TypeError) as error:
            told = error.message if isinstance(error, SenderError) else f"they cannot be stored: {error}"
            raise SenderError("bad_arguments", f"arguments: {told}", parameter="arguments") from None

    def check_workflow(self, workflow_type: str, payload: Any) -> None:
        """``SenderError`` ``unknown_type``, ``bad_arguments`` or ``payload_too_large`` if it could not be started."""
        kind = self.dispatcher.registry.require(workflow_type)
        kind.payload.read(payload, self.dispatcher.limits.payload_bytes_max)
