"""Rigs whose groups are done in small pieces, so that a handful of workflows is a large group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from workflows import Handler, WorkflowEngine
from workflows.groups.part import GroupPart

MakeGroups = Callable[..., Rig]


def in_pieces_of(rig: Rig, count: int) -> Rig:
    """Let the engine of ``rig`` do so many targets in a call or a piece."""
    engine = rig.module
    assert isinstance(engine, WorkflowEngine)
    engine.part(GroupPart).operations.at_once_max = count
    return rig


def finish(rig: Rig) -> None:
    """Let all operations come to their end."""
    while rig.rows("workflow_group_turn"):
        rig.advance(1)


def assert_operations(rig: Rig) -> None:
    """F1: what an operation has yet to do is stored, no more and no less, and something works it off."""
    operations = {row.id: row for row in rig.rows("workflow_group_operation")}
    left: dict[int, int] = {}
    for piece in rig.rows("workflow_group_targets"):
        ids = msgspec.msgpack.decode(piece.ids)
        done = operations[piece.operation_id].done
        assert piece.first + len(ids) > done, "a piece is gone when all of it is done"
        left[piece.operation_id] = left.get(piece.operation_id, 0) + len(ids) - max(done - piece.first, 0)
    for row in operations.values():
        assert row.done == row.applied + row.refused + row.failed
        assert (row.status == "Running") == (row.ended_at is None)
        assert left.get(row.id, 0) == (row.total - row.done if row.status == "Running" else 0)
    # After a stop the row stays until it finds nothing to do.
    assert any(row.status == "Running" for row in operations.values()) <= len(rig.rows("workflow_group_turn")) <= 1
    assert {row.operation_id for row in rig.rows("workflow_group_result")} <= operations.keys()


@pytest.fixture
def make_groups(make_rig: MakeRig) -> Iterator[MakeGroups]:
    """As ``make_rig``, with pieces of ``at_once`` targets."""
    rigs = []

    def make(*types: type[Handler[Any]], at_once: int = 3, **options: Any) -> Rig:
        rigs.append(in_pieces_of(make_rig(*types, **options), at_once))
        return rigs[-1]

    yield make
    for rig in rigs:
        assert_operations(rig)
