"""What may be asked of a start, and what a type declares about its starts."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from reactor.errors import Refusal

REQUEST_ID_CHARS_MAX = 200
KEY_CHARS_MAX = 200
CORRELATION_CHARS_MAX = 256
ID_MAX = (1 << 53) - 1
"""Ids count on from the highest one ever chosen, and JSON readers everywhere must be able to read them."""

KeyOf = Callable[[Any], object]
"""From a decoded payload to a text or number."""


class OnConflict(enum.StrEnum):
    """What a start does when another workflow holds what it wants for itself."""

    REJECT = "reject"
    """It is refused with ``conflict``."""
    REPLACE = "replace"
    """The holder is cancelled, and the new one starts."""
    REFRESH = "refresh"
    """The holder's ``on_conflict`` runs with the new payload; nothing is started."""
    JOIN = "join"
    """The answer is the holder; nothing is started."""
    QUEUE = "queue"
    """The new one is Pending and begins when its turn comes."""


class WhenFull(enum.StrEnum):
    """What a start does when as many run as may."""

    REFUSE = "refuse"
    QUEUE = "queue"


def _key_problem(key: str | KeyOf, words: tuple[str, ...]) -> str | None:
    if callable(key) or key in words:
        return None
    return f"key is {' or '.join(map(repr, words))}, or a function of the payload, not {key!r}"


@dataclass(frozen=True, slots=True)
class Exclusive:
    """At most one live workflow of the type for each (entity, key).

    ``key``: ``"entity"`` for one of the entity, or a function of the payload that tells several apart.
    """

    key: str | KeyOf = "entity"
    on_conflict: OnConflict | str = OnConflict.REJECT

    def __post_init__(self) -> None:
        problem = _key_problem(self.key, ("entity",))
        if problem is None and self.on_conflict not in list(OnConflict):
            problem = f"on_conflict is one of {', '.join(OnConflict)}, not {self.on_conflict!r}"
        if problem is not None:
            raise Refusal("bad_declaration", f"Exclusive: {problem}")

    def key_of(self, payload: Any) -> str:
        """The key within the entity; empty for the entity as a whole."""
        return str(self.key(payload)) if callable(self.key) else ""


@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most ``max`` live workflows of the type for each key; those that are Paused or Faulted count.

    ``key``: ``"type"`` for all of the type together, ``"entity"``, or a function of the payload.
    """

    max: int
    key: str | KeyOf = "type"
    when_full: WhenFull | str = WhenFull.REFUSE

    def __post_init__(self) -> None:
        problem = _key_problem(self.key, ("type", "entity"))
        if type(self.max) is not int or self.max < 1:
            problem = f"max is a whole number from 1, not {self.max!r}"
        elif problem is None and self.when_full not in list(WhenFull):
            problem = f"when_full is one of {', '.join(WhenFull)}, not {self.when_full!r}"
        if problem is not None:
            raise Refusal("bad_declaration", f"Concurrency: {problem}")

    def key_of(self, entity_id: int | None, payload: Any) -> str:
        """The key within the type."""
        if callable(self.key):
            return str(self.key(payload))
        return "" if self.key == "type" or entity_id is None else str(entity_id)


class StartOptions(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a start may be asked besides its type, entity, correlation and payload. All instants and spans are µs.

    ``id`` and ``name``: to be had under that id or name, which must be free; ``reuse="start_new"`` takes them over from
    a workflow that has ended. ``request_id``: an idempotency key; a start with the same key is the same start.

    ``start_at`` or ``start_after_us``: begin then. ``deadline_at``, or ``deadline_us`` after it has begun: end as
    TimedOut then. ``chain_deadline_at`` or ``chain_deadline_us``: the same for all runs under one id together, counted
    from this call.

    ``exclusive``: a key of its own that no other live workflow of the type and entity may hold; ``on_conflict`` says
    what happens if one does. ``concurrency_key`` and ``when_full`` stand in for what the type's limit declares.
    """

    id: int | None = None
    name: str | None = None
    reuse: Literal["reject", "start_new"] = "reject"
    request_id: str | None = None
    start_at: int | None = None
    start_after_us: int | None = None
    deadline_at: int | None = None
    deadline_us: int | None = None
    chain_deadline_at: int | None = None
    chain_deadline_us: int | None = None
    attributes: dict[str, Any] | None = None
    tags: list[str] | None = None
    exclusive: str | None = None
    on_conflict: Literal["reject", "replace", "refresh", "join", "queue"] | None = None
    concurrency_key: str | None = None
    when_full: Literal["refuse", "queue"] | None = None


NO_OPTIONS = StartOptions()


class Outcome(enum.StrEnum):
    """What a start came to."""

    STARTED = "started"
    EXISTING = "existing"
    """The idempotency key was used before, with the same arguments."""
    DELAYED = "delayed"
    """It is Pending until its time."""
    QUEUED = "queued"
    """It is Pending until its turn."""
    REPLACED = "replaced"
    """It runs in place of others."""
    REFRESHED = "refreshed"
    """Another one that runs has been told."""
    JOINED = "joined"
    """Another one runs already."""


class Started(msgspec.Struct, frozen=True):
    """The answer to a start: the workflow that the caller now has, and how it came by it.

    ``replaced``: the ids of the workflows that gave way. ``begins_at``: when a delayed one begins.
    """

    id: int
    name: str
    outcome: Outcome
    status: str
    replaced: tuple[int, ...] = ()
    begins_at: int | None = None
