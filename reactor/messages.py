"""The values that enter and leave the engine. No sockets, no bytes of any wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from reactor.context import SYSTEM, Caller
from reactor.errors import ReactorError
from reactor.table import Change


class Call(msgspec.Struct, gc=False):
    """Run one reducer. ``args`` are JSON bytes, or values by position. ``token`` comes back with the answer."""

    reducer: str
    args: bytes | tuple[Any, ...]
    caller: Caller
    token: Any = None
    key: str | None = None


class Batch(msgspec.Struct, gc=False):
    """Run several reducers in one commit, all or none."""

    calls: Sequence[tuple[str, bytes]]
    caller: Caller
    token: Any = None
    key: str | None = None


class Task(msgspec.Struct, gc=False):
    """Run a function of the reactor itself as a call; ``function(ctx)`` returns what is answered."""

    name: str
    function: Callable[[Any], Any]
    caller: Caller = SYSTEM
    token: Any = None
    budget_s: float | None = None


class Inspect(msgspec.Struct, gc=False):
    """Look at the tables between two calls; ``function()`` returns the answer. A turn runs one that is heavy."""

    function: Callable[[], Any]
    token: Any = None
    is_heavy: bool = False


__all__ = ["SYSTEM", "Batch", "Call", "Caller", "Deltas", "Inspect", "Reply", "Request", "Task", "Turn"]

Request = Call | Batch | Task | Inspect


class Reply(msgspec.Struct, gc=False):
    """The answer to a request. It may leave once ``seq`` is durable. ``body`` is JSON bytes, an error, or a value."""

    seq: int
    token: Any
    body: bytes | ReactorError | Any


class Deltas(msgspec.Struct, gc=False):
    """What subscriptions see of one commit."""

    seq: int
    at: int
    deltas: Sequence[Any]


class Turn(NamedTuple):
    """What one turn did: effects in order, the log group's payload, and its commits as ``(seq, changes)``."""

    effects: list[Reply | Deltas]
    first_seq: int
    last_seq: int
    payload: bytes
    commits: list[tuple[int, list[Change]]]
