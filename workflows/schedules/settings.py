"""What people give to create or change a schedule, checked and turned into columns."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from reactor.clock import DAY
from reactor.errors import SenderError
from workflows.attributes.values import check_name as check_attribute
from workflows.attributes.values import check_tag, stored
from workflows.schedules.launching import Launcher
from workflows.schedules.spec import Spec, calendar_of
from workflows.schedules.tables import Overlap
from workflows.schedules.timing import next_nominal

JITTER_MAX_US = DAY
CATCH_UP_MAX_US = 366 * DAY
DESCRIPTION_CHARS_MAX = 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}\Z")
_TIMING = ("spec", "jitter_us", "starts_at", "ends_at", "max_runs")


class ScheduleSettings(msgspec.Struct, forbid_unknown_fields=True):
    """What a schedule does and how; what is left out keeps its value, or the default when it is created.

    Either ``workflow_type`` (with ``entity_id``, ``correlation_id``, ``payload``, ``attributes``, ``tags`` for each
    run) or ``command``, a reducer, with its ``arguments``. ``catch_up_us``: how late an occurrence may be and still
    run; one second at least. ``jitter_us``: the longest delay. ``max_runs``: the schedule is deleted after so many. No
    occurrence before ``starts_at`` or after ``ends_at`` (µs UTC).
    """

    description: str | UnsetType = UNSET
    workflow_type: str | UnsetType | None = UNSET
    entity_id: int | UnsetType | None = UNSET
    correlation_id: str | UnsetType | None = UNSET
    payload: Any = UNSET
    command: str | UnsetType | None = UNSET
    arguments: Any = UNSET
    attributes: dict[str, Any] | UnsetType | None = UNSET
    tags: list[str] | UnsetType | None = UNSET
    overlap: Overlap | UnsetType = UNSET
    catch_up_us: int | UnsetType = UNSET
    jitter_us: int | UnsetType = UNSET
    max_runs: int | UnsetType | None = UNSET
    starts_at: int | UnsetType | None = UNSET
    ends_at: int | UnsetType | None = UNSET


class _Whole(msgspec.Struct):
    """A schedule as it would be, for ``timing``, which asks rows."""

    spec: Any
    starts_at: int | None
    ends_at: int | None


_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(ScheduleSettings.__struct_fields__),
    "description": "",
    "overlap": Overlap.SKIP,
    "catch_up_us": 0,
    "jitter_us": 0,
}


def check_name(name: str) -> None:
    """``SenderError`` ``bad_arguments`` unless a schedule can have that name."""
    if not _NAME.match(name):
        raise wrong(
            "name", f"{name!r} is no name; begin with a letter or digit, go on with those and . _ : -, 100 at most"
        )


def new_columns(launcher: Launcher, spec: Spec, settings: ScheduleSettings, now: int) -> dict[str, Any]:
    """The columns of a new schedule; ``SenderError`` ``bad_arguments`` or ``unknown_type`` if it could never run."""
    columns = {**_DEFAULTS, **_given(settings), "spec": msgspec.to_builtins(spec)}
    _check(launcher, columns, now)
    return columns


def changed_columns(
    launcher: Launcher, schedule: Any, spec: Spec | None, settings: ScheduleSettings, now: int
) -> dict[str, Any]:
    """The columns that change; raises as ``new_columns``."""
    changes = _given(settings)
    if spec is not None:
        changes["spec"] = msgspec.to_builtins(spec)
    before = {name: getattr(schedule, name) for name in (*_DEFAULTS, "spec")}
    _check(launcher, {**before, **changes}, now)
    return {name: value for name, value in changes.items() if value != before[name]}


def changes_times(changes: dict[str, Any]) -> bool:
    """Whether the next occurrence is another after these changes."""
    return any(name in changes for name in _TIMING)


def wrong(field: str, how: str) -> SenderError:
    """``bad_arguments`` naming the field and the remedy."""
    return SenderError("bad_arguments", f"{field}: {how}", parameter=field)


def _given(settings: ScheduleSettings) -> dict[str, Any]:
    found = {name: getattr(settings, name) for name in settings.__struct_fields__}
    return {name: value for name, value in found.items() if value is not UNSET}


def _check(launcher: Launcher, columns: dict[str, Any], now: int) -> None:
    _check_what(launcher, columns)
    _check_tags(columns)
    _check_numbers(columns)
    calendar_of(columns["spec"])
    whole = _Whole(columns["spec"], columns["starts_at"], columns["ends_at"])
    if next_nominal(whole, now) is None:
        field = "spec" if columns["ends_at"] is None else "ends_at"
        raise wrong(field, "there is no occurrence from now on, within the bounds and the next ten years; widen them")


def _check_what(launcher: Launcher, columns: dict[str, Any]) -> None:
    if (columns["workflow_type"] is None) == (columns["command"] is None):
        raise wrong("settings", "give it either workflow_type, or command and its arguments")
    if columns["command"] is not None:
        launcher.command(columns["command"], columns["arguments"])
    else:
        launcher.check_workflow(columns["workflow_type"], columns["payload"])


def _check_tags(columns: dict[str, Any]) -> None:
    if len(columns["description"]) > DESCRIPTION_CHARS_MAX:
        raise wrong("description", f"it is longer than {DESCRIPTION_CHARS_MAX} characters")
    for name, value in (columns["attributes"] or {}).items():
        check_attribute(name)
        stored(name, value, {})
    for tag in columns["tags"] or ():
        check_tag(tag)


def _check_numbers(columns: dict[str, Any]) -> None:
    if not 0 <= columns["catch_up_us"] <= CATCH_UP_MAX_US:
        raise wrong("catch_up_us", "it is from 0 to a year, in microseconds")
    if not 0 <= columns["jitter_us"] <= JITTER_MAX_US:
        raise wrong("jitter_us", "it is from 0 to a day, in microseconds")
    if columns["max_runs"] is not None and columns["max_runs"] < 1:
        raise wrong("max_runs", "it is 1 or more, or null for no end")
    for name in ("starts_at", "ends_at"):
        if columns[name] is not None and not 0 <= columns[name] <= 400 * 366 * DAY:
            raise wrong(name, "it is in microseconds since 1970 UTC, or null")
    if None not in (columns["starts_at"], columns["ends_at"]) and columns["starts_at"] > columns["ends_at"]:
        raise wrong("ends_at", "it is before starts_at; swap them")
