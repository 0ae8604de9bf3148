"""Which workflows a group command is for, as a filter that callers write."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from reactor.errors import SenderError
from workflows.amounts import Whole
from workflows.life import Status

IDS_MAX = 100_000
VALUES_MAX = 10_000
"""Values of one part of a filter, besides ids."""
LABELS_MAX = 32
"""Tags and attributes of a filter; a workflow has no more."""
PREFIX_CHARS_MIN = 3
"""A shorter prefix of a name is no scope: it is most of everything."""

SCOPES = (
    "ids", "type", "entity_id", "correlation_id", "status", "name_prefix", "parent_id", "root_id", "tag",
    "attributes", "zone",
)  # fmt: skip
"""What makes a filter narrow enough for a command; times and failure categories alone do not."""

T = TypeVar("T")


class Selection(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """A filter over workflows. What is given must all hold; a list holds if one of its values does.

    ``tag``: the workflow has all of these. ``attributes``: it has these names with these values; ``zone`` is short for
    the attribute of that name. Times are wall instants in µs: ``after`` includes the instant, ``before`` does not.
    """

    ids: list[Whole] | None = None
    type: str | list[str] | None = None
    entity_id: Whole | list[Whole] | None = None
    correlation_id: str | list[str] | None = None
    status: Status | list[Status] | None = None
    name_prefix: str | None = None
    parent_id: Whole | list[Whole] | None = None
    root_id: Whole | None = None
    tag: str | list[str] | None = None
    attributes: dict[str, str | int | float | bool] | None = None
    zone: str | Whole | None = None
    failure_category: str | list[str] | None = None
    created_after: Whole | None = None
    created_before: Whole | None = None
    updated_after: Whole | None = None
    updated_before: Whole | None = None

    def check(self) -> None:
        """``SenderError`` ``bad_arguments`` or ``limit_exceeded`` unless the filter may be used for a command."""
        for name in self.__struct_fields__:
            # An empty list of ids is an empty group; any other is a mistake of whoever made the filter.
            value = getattr(self, name)
            if name != "ids" and value in ([], {}, ""):
                raise _bad(f"filter.{name} is empty; leave it out, or name what it should be")
            if isinstance(value, list | dict):
                _check_length(name, len(value))
        if self.name_prefix is not None and len(self.name_prefix) < PREFIX_CHARS_MIN:
            raise _bad(
                f"filter.name_prefix {self.name_prefix!r} is too short; give {PREFIX_CHARS_MIN} characters or more"
            )
        if self.zone is not None and self.attributes is not None and "zone" in self.attributes:
            raise _bad("filter.zone and filter.attributes.zone are the same; give one")
        if all(getattr(self, name) is None for name in SCOPES):
            raise _bad(
                f"the filter has no scope; give at least one of {', '.join(SCOPES)}. Times and failure_category only "
                "narrow what these have chosen"
            )

    @property
    def wanted_attributes(self) -> dict[str, str | int | float | bool]:
        """The attributes with ``zone`` among them."""
        wanted = dict(self.attributes or {})
        if self.zone is not None:
            wanted["zone"] = self.zone
        return wanted

    def encoded(self) -> bytes:
        """The filter as JSON; the same filter always gives the same bytes."""
        return msgspec.json.encode(self, order="deterministic")


def as_list(given: T | list[T] | None) -> list[T]:
    """A value or values as a list, each once, in the order given."""
    if given is None:
        return []
    return list(dict.fromkeys(given)) if isinstance(given, list) else [given]


def _check_length(name: str, count: int) -> None:
    """``SenderError`` ``limit_exceeded`` for a filter that names too much: each value is looked up before any test."""
    bound = _MOST.get(name, VALUES_MAX)
    if count > bound:
        raise SenderError(
            "limit_exceeded",
            f"filter.{name} has {count} values, and {bound} are allowed; give several commands, or another filter",
            kind="filter_values",
            value=count,
            limit=bound,
        )


_MOST = {"ids": IDS_MAX, "tag": LABELS_MAX, "attributes": LABELS_MAX}


def _bad(reason: str) -> SenderError:
    return SenderError("bad_arguments", f"parameter filter: {reason}", parameter="filter")


_decode: Any = msgspec.json.Decoder(Selection).decode


def decoded(text: str) -> Selection:
    """The filter that ``encoded`` wrote."""
    selection: Selection = _decode(text)
    return selection
