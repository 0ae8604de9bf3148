"""What lists can be asked for. A filter that means nothing is refused: an empty page would look like an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from reactor.errors import SenderError
from workflows.amounts import Whole
from workflows.attributes.values import ATTRIBUTES_MAX, Declared, Stored, bad, stored
from workflows.life import Status

PREFIX_CHARS_MIN = 3
"""A shorter prefix of a name is most of everything."""
VALUES_MAX = 100
"""Values of one part of a filter."""
SCHEDULE_ATTRIBUTE = "$schedule"
"""The attribute that tells which schedule has started a workflow."""

T = TypeVar("T")


class Range(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """Instants in µs: after (``gt``), from (``gte``), before (``lt``), up to (``lte``)."""

    gt: Whole | None = None
    gte: Whole | None = None
    lt: Whole | None = None
    lte: Whole | None = None


class ListFilter(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True, kw_only=True):
    """Which workflows. All that is given must hold; where a list is given, one of its values must.

    ``tag``: it has all of these. ``attributes``: each has the value, or one of the values. ``root_id``: the workflow of
    that id and all its descendants. ``schedule``: the name of the schedule that started it.
    """

    id: Whole | list[Whole] | None = None
    status: Status | list[Status] | None = None
    type: str | list[str] | None = None
    name: str | list[str] | None = None
    name_prefix: str | None = None
    entity_id: Whole | list[Whole] | None = None
    correlation_id: str | list[str] | None = None
    parent_id: Whole | list[Whole] | None = None
    root_id: Whole | list[Whole] | None = None
    schedule: str | list[str] | None = None
    failure_category: str | list[str] | None = None
    tag: str | list[str] | None = None
    attributes: dict[str, Any] | None = None
    created: Range | None = None
    updated: Range | None = None
    deadline: Range | None = None

    def check(self) -> None:
        """``SenderError`` ``bad_arguments`` with the part that means nothing."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, list) and not 0 < len(value) <= VALUES_MAX:
                raise wrong(f"{name} has {len(value)} values; give 1 to {VALUES_MAX}, or leave it out")
            if value in ("", {}):
                raise wrong(f"{name} is empty; leave it out, or say what it should be")
            if isinstance(value, Range):
                _check_range(name, value)
        if self.name_prefix is not None and len(self.name_prefix) < PREFIX_CHARS_MIN:
            raise wrong(f"name_prefix {self.name_prefix!r} is too short; give {PREFIX_CHARS_MIN} characters or more")

    def stored_attributes(self, declared: Declared) -> Iterator[tuple[str, list[Stored]]]:
        """The attributes wanted, each with the values that will do; ``SenderError`` ``bad_arguments``."""
        self._check_attributes()
        for name, wanted in (self.attributes or {}).items():
            if not name:
                raise bad("an attribute has a name", "filter")
            values = wanted if isinstance(wanted, list) else [wanted]
            if not 0 < len(values) <= VALUES_MAX or None in values:
                raise wrong(f"attributes.{name} needs a value, or a list of 1 to {VALUES_MAX}")
            yield name, [stored(name, value, declared) for value in values]
        if self.schedule is not None:
            yield SCHEDULE_ATTRIBUTE, [stored(SCHEDULE_ATTRIBUTE, name, {}) for name in as_list(self.schedule)]

    def _check_attributes(self) -> None:
        """A workflow has no more attributes; the bound on all values together keeps the statement short."""
        given = self.attributes or {}
        count = sum(len(value) if isinstance(value, list) else 1 for value in given.values())
        if len(given) > ATTRIBUTES_MAX or count > VALUES_MAX:
            raise wrong(
                f"attributes has {len(given)} names and {count} values; {ATTRIBUTES_MAX} names and {VALUES_MAX} values "
                "in all are allowed"
            )

    @property
    def fingerprint(self) -> str:
        """Equal for equal filters: a cursor belongs to one."""
        return hashlib.blake2b(msgspec.json.encode(self, order="deterministic"), digest_size=6).hexdigest()


def as_list(given: T | list[T] | None) -> list[T]:
    """A value or values as a list, each once."""
    if given is None:
        return []
    return list(dict.fromkeys(given)) if isinstance(given, list) else [given]


def wrong(reason: str) -> SenderError:
    """A filter that means nothing."""
    return SenderError("bad_arguments", f"parameter filter: {reason}", parameter="filter")


def _check_range(name: str, span: Range) -> None:
    given = {op: value for op in span.__struct_fields__ if (value := getattr(span, op)) is not None}
    if not given:
        raise wrong(f"{name} has no bound; give gt, gte, lt or lte")
    if {"gt", "gte"} <= given.keys() or {"lt", "lte"} <= given.keys():
        raise wrong(f"{name} has two bounds on one side; give one")
    low = span.gte if span.gt is None else span.gt + 1
    high = span.lte if span.lt is None else span.lt - 1
    if low is not None and high is not None and low > high:
        raise wrong(f"no instant is in {name}: its bounds are the wrong way round")
