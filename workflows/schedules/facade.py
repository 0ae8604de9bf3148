"""``ctx.schedules``: how game code makes and minds schedules, as part of its own call."""

from __future__ import annotations

from typing import Any

import msgspec

from reactor.context import Context
from workflows.schedules.settings import ScheduleSettings, new_columns, wrong
from workflows.schedules.spec import Spec
from workflows.schedules.tables import Overlap
from workflows.schedules.verbs import Verbs


class Schedules:
    """The schedules, as a reducer or handler sees them. Game code is trusted: nobody's permission is asked.

    ``spec`` is a ``Spec`` or its JSON value; settings are given by name, as in ``ScheduleSettings``:
    ``ctx.schedules.create("market", {"cron": ["0 6 * * *"]}, workflow_type="market")``.
    """

    __slots__ = ("_ctx", "_verbs")

    def __init__(self, ctx: Context, verbs: Verbs) -> None:
        self._ctx = ctx
        self._verbs = verbs

    def create(self, name: str, spec: Spec | dict[str, Any], **settings: Any) -> Any:
        """Make a schedule and return its row; raises as ``schedule_create``."""
        columns = new_columns(self._verbs.launcher, _spec(spec), _settings(settings), self._ctx.now)
        self._verbs.create(self._ctx, name, columns)
        return self.get(name)

    def update(self, name: str, spec: Spec | dict[str, Any] | None = None, **settings: Any) -> Any:
        """Change what is given and return the row; raises as ``schedule_update``."""
        given = None if spec is None else _spec(spec)
        self._verbs.update(self._ctx, self._verbs.live(self._ctx, name), given, _settings(settings))
        return self.get(name)

    def pause(self, name: str, reason: str) -> None:
        """Let no occurrence come due."""
        self._verbs.pause(self._ctx, self._verbs.live(self._ctx, name), reason)

    def resume(self, name: str) -> None:
        """Go on from now."""
        self._verbs.resume(self._ctx, self._verbs.live(self._ctx, name))

    def trigger(self, name: str, overlap: Overlap | None = None) -> dict[str, Any]:
        """Run it now as well; the answer is that of ``schedule_trigger``."""
        return self._verbs.trigger(self._ctx, self._verbs.live(self._ctx, name), overlap)

    def delete(self, name: str) -> None:
        """Delete it, softly."""
        self._verbs.delete(self._ctx, self._verbs.live(self._ctx, name))

    def get(self, name: str) -> Any:
        """The schedule's row, or None."""
        return self._ctx.db.schedule.first(name=name)


def _spec(given: Spec | dict[str, Any]) -> Spec:
    read: Spec = given if isinstance(given, Spec) else _read(given, Spec, "spec")
    return read


def _settings(given: dict[str, Any]) -> ScheduleSettings:
    read: ScheduleSettings = _read(given, ScheduleSettings, "settings")
    return read


def _read(given: Any, kind: Any, field: str) -> Any:
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise wrong(field, str(error)) from None
