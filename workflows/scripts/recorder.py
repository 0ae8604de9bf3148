"""Writing a script's record: one row for each thing it awaits, numbered as it happens."""

from __future__ import annotations

from typing import Any

from workflows.scripts.operations import Node, Operation, to_json
from workflows.scripts.tables import PointerStatus

EVENT_BYTES = 32
"""What an event counts for beside its texts."""


class Recorder:
    """The record of one run, while it is written.

    ``w`` is the workflow's step that is open, None between steps. ``n`` is the number of the last event and ``bytes``
    the size of the record; both are the same again in a replay. ``nodes`` are the operations that wait, by pointer.
    ``parked`` are those of them that wait for somebody's decision. ``doom`` is why the workflow is to be terminated.
    ``newest`` is the row that was written last.
    """

    def __init__(self, workflow_id: int, run: int) -> None:
        self.workflow_id = workflow_id
        self.run = run
        self.w: Any = None
        self.n = 0
        self.bytes = 0
        self.now = 0
        self.nodes: dict[int, Node] = {}
        self.parked: dict[int, Node] = {}
        self.newest: Any = None
        self.doom: str | None = None
        self._reserved = 0

    def reserve(self) -> int:
        """See ``Live``."""
        if not self._reserved:
            self._reserved = self.w.db.execution_pointer.reserve_id()
        return self._reserved

    def wait(self, node: Node, status: PointerStatus, **columns: Any) -> None:
        """See ``Live``."""
        self.n += 1
        row = self._insert(node, status=status, created_no=self.n, **columns)
        self.grow(row.data)
        self.nodes[node.pointer_id] = node

    def at_once(self, node: Node, **columns: Any) -> None:
        """See ``Live``."""
        self.n += 1
        columns.setdefault("status", PointerStatus.COMPLETE)
        row = self._insert(node, created_no=self.n, done_no=self.n, ended_at=self.now, **columns)
        self.grow(row.data)
        self.over(node, row)

    def done(self, node: Node, **columns: Any) -> None:
        """See ``Live``."""
        self.n += 1
        columns.setdefault("status", PointerStatus.COMPLETE)
        row = self.put(node, done_no=self.n, ended_at=self.now, **columns)
        del self.nodes[node.pointer_id]
        self.parked.pop(node.pointer_id, None)
        self.over(node, row)

    def change(self, node: Node, **columns: Any) -> None:
        """See ``Live``."""
        self.parked.pop(node.pointer_id, None)
        self.put(node, **columns)

    def park(self, node: Node) -> None:
        """See ``Live``."""
        self.parked[node.pointer_id] = node

    def terminate(self, reason: str) -> None:
        """See ``Live``."""
        self.doom = reason

    @property
    def is_halted(self) -> bool:
        """Whether no more code of the script may run."""
        return self.doom is not None

    def timer_name(self, wanted: str) -> str:
        """See ``Live``."""
        if not self.nodes:
            return wanted
        taken = {node.timer for node in self.nodes.values()}
        name, number = wanted, self.n
        while name in taken:
            number += 1
            name = f"{wanted} {number}"
        return name

    def mark(self, kind: str, label: str, value: Any, data: str | None = None) -> None:
        """Record something the script is told without waiting for it."""
        self.n += 1
        row = self._insert(
            Node(Marker(kind, label), None),
            status=PointerStatus.COMPLETE,
            created_no=self.n,
            done_no=self.n,
            ended_at=self.now,
            data=data,
            outcome=to_json(value),
        )
        self.grow(row.data, row.outcome)

    def grow(self, *texts: str | None) -> None:
        """Count what the record grows by; the same in a replay, so that a script can go by it."""
        self.bytes += EVENT_BYTES + sum(len(text) for text in texts if text)

    def _insert(self, node: Node, **columns: Any) -> Any:
        table = self.w.db.execution_pointer
        if self._reserved:
            columns["id"], self._reserved = self._reserved, 0
        row = table.insert(
            workflow_id=self.workflow_id,
            run=self.run,
            kind=node.op.kind,
            step_name=node.op.label,
            started_at=self.now,
            **columns,
        )
        node.pointer_id = row.id
        self.newest = row
        return row

    def put(self, node: Node, **columns: Any) -> Any:
        """Change the row of a node."""
        row = self.w.db.execution_pointer.update(node.pointer_id, **columns)
        self.newest = row
        return row

    def over(self, node: Node, row: Any) -> None:
        """Give whoever waits for ``node`` its value."""
        raise NotImplementedError


class Marker(Operation):
    """Something recorded that nobody awaits."""

    __slots__ = ("kind",)

    def __init__(self, kind: str, label: str) -> None:
        super().__init__(label)
        self.kind = kind
