"""Doing again what a record says: its events are matched with what the script asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactor.errors import invariant
from workflows.failures import HARD
from workflows.scripts.errors import DivergenceError, without_frames
from workflows.scripts.history import History
from workflows.scripts.operations import Node
from workflows.scripts.recorder import Recorder
from workflows.scripts.tables import PointerStatus

TOLD_KINDS = frozenset({"update", "cancel"})
"""Events at which the script did not ask for something, but was told something."""


class Replayer(Recorder):
    """A recorder that can begin with a record that is there. ``history`` is that record while it is replayed.

    ``update`` does an update of the script again.
    """

    def __init__(self, workflow_id: int, run: int) -> None:
        super().__init__(workflow_id, run)
        self.history: History | None = None
        self.update: Callable[[str, Any], Any] | None = None
        self.diverged: DivergenceError | None = None

    @property
    def is_replaying(self) -> bool:
        """Whether what the script does now it has done before."""
        return self.history is not None

    def over(self, node: Node, row: Any) -> None:
        """See ``Recorder``."""
        self.grow(row.outcome, row.error)
        try:
            value = node.op.value(row)
        except Exception as error:
            if self.history is not None and row.status is PointerStatus.COMPLETE:
                self.diverged = self.divergence(f"cannot read what it gave: {error}", row.done_no)
            else:
                self.complete(node.owner, None, without_frames(error))
        else:
            self.complete(node.owner, value, None)

    def complete(self, owner: Any, value: Any, error: BaseException | None) -> None:
        """Give ``owner`` the value or the error it waits for."""
        raise NotImplementedError

    def reopen(self, node: Node, history: History) -> None:
        """Open an operation that the record must have next."""
        event = history.at(self.n + 1)
        op = node.op
        asked = f"asks for {op.kind} {op.label!r}"
        if event is None or event.what == "over":
            self.diverge(asked)
            return
        pointer = event.pointer
        if pointer.kind != op.kind or pointer.step_name != op.label:
            self.diverge(asked)
            return
        self.n += 1
        self.grow(pointer.data)
        node.pointer_id = pointer.id
        if event.what == "at once":
            self.over(node, pointer)
            return
        if op.is_timed:
            node.timer = pointer.event_name
        if pointer.status is PointerStatus.PARKED:
            self.parked[pointer.id] = node
        self.nodes[pointer.id] = node

    def replay_end(self, pointer: Any) -> None:
        """What waited is over."""
        node = self.nodes.pop(pointer.id, None)
        if node is None:
            raise self.divergence("has let go of it", self.n)
        self.over(node, pointer)

    def replay_update(self, pointer: Any) -> None:
        """Do an update again."""
        self.grow(pointer.data, pointer.outcome)
        invariant(self.update is not None, "a run that was closed is replayed")
        try:
            self.update(pointer.step_name, pointer.data)  # type: ignore[misc]
        except HARD:
            raise
        except BaseException as error:
            # It did not raise the first time, or it would not be in the record.
            raise self.diverged or self.divergence(f"cannot do it again: {error}", self.n) from error

    def check_open(self, history: History) -> None:
        """Raise ``DivergenceError`` unless what waits now is what waits at the end of the record."""
        for row in history.open.values():
            if row.id not in self.nodes:
                raise DivergenceError(row.created_no, f"{row.kind} {row.step_name!r}, which waits", "has let go of it")
        for row in history.let_go.values():
            if row.id in self.nodes:
                what = f"{row.kind} {row.step_name!r}, not waited for after event {row.done_no}"
                raise DivergenceError(row.created_no, what, "goes on waiting for it")

    def recorded_mark(self, kind: str, label: str) -> Any:
        """The row of a marker, if it is what comes next in the record; else None."""
        invariant(self.history is not None, "there is no record to look at")
        event = self.history.at(self.n + 1)  # type: ignore[union-attr]
        if event is None or event.what != "at once":
            return None
        pointer = event.pointer
        if pointer.kind != kind or pointer.step_name != label:
            return None
        self.n += 1
        self.grow(pointer.data, pointer.outcome)
        return pointer

    def diverge(self, asked: str) -> DivergenceError:
        """Note that the script asks for something else than what comes next in the record; returns the error."""
        # Not raised here: the script could catch it.
        self.diverged = self.divergence(asked)
        return self.divergence(asked)

    def divergence(self, asked: str, number: int | None = None) -> DivergenceError:
        """The error of a script that differs from its record at event ``number``, by default the next."""
        number = self.n + 1 if number is None else number
        history = self.history
        return DivergenceError(number, "nothing" if history is None else history.describe(number), asked)
