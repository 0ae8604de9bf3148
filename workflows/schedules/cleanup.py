"""The built-in schedule that removes workflows which ended long ago."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reactor.context import Context
from reactor.errors import Refusal, SenderError
from workflows.dispatch import Dispatcher
from workflows.schedules.launching import Launcher
from workflows.schedules.settings import ScheduleSettings, changed_columns, new_columns
from workflows.schedules.spec import Calendar, Spec
from workflows.schedules.tables import ScheduleStatus
from workflows.schedules.verbs import Verbs
from workflows.upkeep import CLEANUP_MAX, cleanup, types_of

NAME = "cleanup"


@dataclass(frozen=True, slots=True)
class CleanupPolicy:
    """Which ended workflows go, and when it is looked: cron line ``every`` in ``time_zone``.

    ``older_than_days`` is how long an ended workflow stays, ``types`` the same for single types, by name.
    """

    older_than_days: float = 30
    every: str = "0 4 * * *"
    time_zone: str = "UTC"
    types: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, kept in (("older_than_days", self.older_than_days), *self.types.items()):
            if not 0 <= kept < float("inf"):
                raise Refusal("bad_declaration", f"CleanupPolicy: {name}: a number of days from 0 up, not {kept!r}")
        try:
            Calendar(Spec([self.every], self.time_zone))
        except SenderError as error:
            raise Refusal("bad_declaration", f"CleanupPolicy: {error.message}") from None

    @property
    def command(self) -> str:
        """The reducer that does it."""
        return "cleanup_by_type" if self.types else "cleanup_old_workflows"

    @property
    def arguments(self) -> list[Any]:
        """What it is given."""
        return [self.older_than_days, dict(self.types)] if self.types else [self.older_than_days]


def by_type(ctx: Context, dispatcher: Dispatcher, days: float, types: Mapping[str, float]) -> dict[str, Any]:
    """Remove workflows that ended ``days`` ago, or as ``types`` says for theirs; the answer is that of ``cleanup``."""
    removed = 0
    for name in types_of(ctx.db.workflow):
        done = cleanup(ctx, dispatcher, types.get(name, days), CLEANUP_MAX - removed, name)
        removed += done["removed"]
        if done["more"]:
            return {"removed": removed, "more": True}
    return {"removed": removed, "more": False}


def keep_up(ctx: Context, verbs: Verbs, launcher: Launcher, policy: CleanupPolicy | None) -> None:
    """Make the built-in schedule what the policy says: there, as told, or gone. A pause of an operator stays."""
    row = ctx.db.schedule.first(name=NAME)
    if row is not None and (not row.built_in or row.status is ScheduleStatus.DELETED):
        if policy is not None and row.status is not ScheduleStatus.DELETED:
            ctx.log(f"there is no built-in clean-up: a schedule of your own is called {NAME}; rename it", "error")
            return
        row = None
    if policy is None:
        if row is not None:
            verbs.remove_built_in(ctx, row)
        return
    spec = Spec([policy.every], policy.time_zone)
    settings = ScheduleSettings(
        description=f"Removes workflows that ended more than {policy.older_than_days:g} days ago.",
        command=policy.command,
        arguments=policy.arguments,
    )
    if row is None:
        verbs.create(ctx, NAME, new_columns(launcher, spec, settings, ctx.now), built_in=True)
    else:
        verbs.change(ctx, row, changed_columns(launcher, row, spec, settings, ctx.now))
