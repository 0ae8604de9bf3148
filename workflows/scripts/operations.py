"""What a script can await.

An operation is made by a method of ``Run`` and does nothing until it is awaited, alone or inside ``select`` or
``all``. Then the driver opens it: live, it does what it is for and becomes a row; in a replay its row is there already
and only its value is taken from it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, Protocol

import msgspec

from workflows.handle import Workflow
from workflows.scripts.errors import ScriptError
from workflows.scripts.tables import PointerStatus

_decode = msgspec.json.decode
_encode = msgspec.json.Encoder().encode
_PLAIN = (type(None), bool, int, str, float)


class Live(Protocol):
    """The driver, as operations see it while their script runs for the first time through them."""

    w: Workflow[Any]
    now: int

    def wait(self, node: Node, status: PointerStatus, **columns: Any) -> None:
        """Note that ``node`` waits; inserts its row."""

    def at_once(self, node: Node, **columns: Any) -> None:
        """Note that ``node`` is over already; inserts its row and goes on with its value."""

    def done(self, node: Node, **columns: Any) -> None:
        """Note that ``node``, which waited, is over; changes its row and goes on with its value."""

    def change(self, node: Node, **columns: Any) -> None:
        """Change the row of a node that goes on waiting."""

    def reserve(self) -> int:
        """The id that the row of the node opened next will have."""

    def timer_name(self, wanted: str) -> str:
        """``wanted``, or something like it if a timer of that name is armed already."""

    def park(self, node: Node) -> None:
        """``node``, a step that waits, has failed for good, and somebody must decide."""

    @property
    def is_leaving(self) -> bool:
        """Whether the script is being cancelled: nothing may wait any more."""

    def terminate(self, reason: str) -> None:
        """A step has failed, and its policy ends the workflow."""


class Operation:
    """One thing to await. ``kind`` and ``label`` are what a replay compares with the record."""

    kind = ""
    is_timed = False
    """Whether ``event_name`` of its row is the name of a timer that will wake it, on ``clock``."""
    clock: str | None = None
    __slots__ = ("label",)

    def __init__(self, label: str) -> None:
        self.label = label

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self)

    def begin(self, live: Live, node: Node) -> None:
        """Open it, live."""
        raise NotImplementedError

    def drop(self, live: Live, pointer: Any) -> None:
        """Another waker was first: take back what ``begin`` left outside the pointer's row."""

    def wake(self, live: Live, node: Node, pointer: Any) -> None:
        """Its timer has fired."""

    def value(self, pointer: Any) -> Any:
        """The value of the row of one that is over; raises what the ``await`` is to raise."""
        if pointer.status is PointerStatus.FAILED:
            raise ScriptError(pointer.error or "")
        return None if pointer.outcome is None else _decode(pointer.outcome)

    def token(self) -> str | None:
        """What ``workflow.waits`` shows while it waits; None if a timer will wake it."""
        return None


class Node:
    """An operation that has been opened, on behalf of ``owner``: a fiber, or one slot of a group."""

    __slots__ = ("op", "owner", "pointer_id", "timer")

    def __init__(self, op: Operation, owner: Any) -> None:
        self.op = op
        self.owner = owner
        self.pointer_id = 0
        self.timer: str | None = None


class Sleep(Operation):
    """Until a clock has come to a value."""

    kind = "sleep"
    is_timed = True
    __slots__ = ("_after_us", "_at", "clock")

    def __init__(self, label: str, after_us: int | None, at: int | None, clock: str | None) -> None:
        super().__init__(label)
        self._after_us = after_us
        self._at = at
        self.clock = clock

    def begin(self, live: Live, node: Node) -> None:
        """Arm the timer."""
        node.timer = live.timer_name(self.label)
        due = live.w.timer(node.timer, after_us=self._after_us, at=self._at, clock=self.clock)
        live.wait(node, PointerStatus.SLEEPING, sleep_until=due, event_name=node.timer)

    def drop(self, live: Live, pointer: Any) -> None:
        """Let the timer not fire."""
        live.w.cancel_timer(pointer.event_name)

    def wake(self, live: Live, node: Node, pointer: Any) -> None:
        """It has fired."""
        live.done(node)


class Condition(Operation):
    """Until something the script itself keeps has become true; looked at after everything that happens to it."""

    kind = "condition"
    __slots__ = ("holds",)

    def __init__(self, label: str, holds: Callable[[], object]) -> None:
        super().__init__(label)
        self.holds = holds

    def begin(self, live: Live, node: Node) -> None:
        """It may be true already."""
        if self.holds():
            live.at_once(node)
        else:
            live.wait(node, PointerStatus.WAITING)

    def token(self) -> str:
        """Shown so that people see what it waits for."""
        return f"condition:{self.label}"


class Group:
    """Several things awaited together: the first of them (``select``), or all of them (``all``)."""

    __slots__ = ("first", "items", "names")

    def __init__(self, items: Sequence[Awaited], names: Sequence[str], *, first: bool) -> None:
        self.items = items
        self.names = names
        self.first = first

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield self)


Awaited = Operation | Group | Coroutine[Any, Any, Any]


def to_json(value: Any) -> str | None:
    """A value as the record keeps it; ``TypeError`` if it is not JSON."""
    return None if value is None else _encode(value).decode()


def as_replayed(value: Any, text: str | None) -> Any:
    """``value`` as a replay will give it: the first time must not differ from any later time."""
    return value if text is None or type(value) in _PLAIN else _decode(text)
