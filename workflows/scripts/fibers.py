"""The coroutines of a script, and what each of them waits for."""

from __future__ import annotations

import inspect
from collections.abc import Coroutine
from typing import Any, NamedTuple

from workflows.failures import HARD
from workflows.scripts.errors import ContinueAsNew
from workflows.scripts.operations import Group

CLOSES_MAX = 100
"""How often a coroutine is closed that goes on awaiting things; one that still does then is left to itself."""


class Chosen(NamedTuple):
    """What ``select`` gives: the name of the operation that was over first, and its value."""

    name: str
    value: Any


ADRIFT = object()
"""The owner of a coroutine that nobody waits for any more, while it cleans up."""


class Fiber:
    """One coroutine. ``owner`` is the slot of a group that waits for it, None for the script's own, or ``ADRIFT``.

    ``current`` is what it waits for; ``refusals`` counts what it wanted to wait for and may not.
    """

    __slots__ = ("coroutine", "current", "has_begun", "is_closed", "owner", "refusals")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], owner: Any) -> None:
        self.coroutine = coroutine
        self.owner = owner
        self.refusals = 0
        self.current: Any = None
        self.has_begun = self.is_closed = False


class OpenGroup:
    """A group that has been opened on behalf of ``owner``."""

    __slots__ = ("cancelled", "group", "is_over", "left", "nodes", "owner", "results")

    def __init__(self, group: Group, owner: Any) -> None:
        self.group = group
        self.owner = owner
        self.nodes: list[Any] = []
        self.results: list[Any] = [None] * len(group.items)
        self.left = len(group.items)
        self.is_over = False
        self.cancelled: str | None = None


class Slot(NamedTuple):
    """One place of an open group."""

    group: OpenGroup
    at: int


class Finish(NamedTuple):
    """How a script has left: with a result, with an error, or to begin anew."""

    result: Any = None
    error: BaseException | None = None
    renewal: ContinueAsNew | None = None


def close(fiber: Fiber) -> None:
    """End a coroutine where it stands. What it does in ``finally`` must not wait, and what it raises there is lost."""
    for inner in _take_apart(fiber.current):
        close(inner)
    fiber.current = None
    fiber.is_closed = True
    for _ in range(CLOSES_MAX):
        try:
            fiber.coroutine.close()
        except HARD:
            raise
        except RuntimeError:
            # It awaited something, and there is nobody to give it to; it stands there now, and is closed again.
            continue
        except BaseException:
            return
        return


def discard(asked: Any) -> None:
    """Let go of something to await that nobody has opened, and nobody will."""
    if inspect.iscoroutine(asked):
        asked.close()
    elif isinstance(asked, Group):
        for item in asked.items:
            discard(item)


def is_fresh(coroutine: Any) -> bool:
    """Whether no code of a coroutine has run yet."""
    return inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED


def _take_apart(node: Any) -> list[Fiber]:
    """The fibers right beneath ``node``; groups and what they wait for do not refer to each other any more."""
    if isinstance(node, OpenGroup):
        nodes, node.nodes, node.is_over = node.nodes, [], True
        return [fiber for inner in nodes for fiber in _take_apart(inner)]
    return [node] if isinstance(node, Fiber) else []
