"""``reactor.storage.backlog``."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactor.storage import backlog as module
from reactor.storage.backlog import Backlog
from reactor.storage.connection import OS_DISK
from reactor.storage.log import Log, StoredSchema
from tests.reactor.storage.support import ITEM, item_group


def test_groups_are_taken_in_order_and_kept_until_done() -> None:
    """A batch that could not be applied is given again."""
    backlog = Backlog(reached_seq=4, schema_no=2)
    assert not backlog
    assert backlog.batch() == []
    groups = [item_group(seq, 1, seq) for seq in (5, 6, 7)]
    backlog.add(groups[:2])
    backlog.add(groups[2:])
    assert backlog
    assert backlog.batch() == backlog.batch() == [(2, g.payload) for g in groups]
    backlog.done(6)
    assert backlog.batch() == [(2, groups[2].payload)]
    backlog.done(7)
    assert not backlog


def test_a_batch_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question for a seq waits for one batch at most, not for all that waits."""
    groups = [item_group(seq, 1, seq) for seq in range(1, 11)]
    monkeypatch.setattr(module, "BATCH_BYTES", 3 * len(groups[0].payload))
    backlog = Backlog(0, 1)
    backlog.add(groups)
    assert len(backlog.batch() or []) == 3


def test_too_much_is_left_to_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: past the bound payloads are read from the log again, none twice, none missing."""
    log = Log(OS_DISK.connect(str(tmp_path / "log.db")))
    log.add_schema(StoredSchema(1, {1: ITEM}), 0)
    groups = [item_group(seq, 1, seq) for seq in range(1, 21)]
    log.append(groups)
    monkeypatch.setattr(module, "BACKLOG_BYTES_MAX", 4 * len(groups[0].payload))
    backlog = Backlog(0, 1)
    for one in groups:
        backlog.add([one])
    reader = OS_DISK.connect(str(tmp_path / "log.db"), read_only=True)
    in_memory = backlog.batch()
    assert in_memory is not None
    assert 0 < len(in_memory) < 10
    taken = list(in_memory)
    backlog.done(len(taken))
    monkeypatch.setattr(module, "BATCH_BYTES", 3 * len(groups[0].payload))
    while backlog:
        assert backlog.batch() is None
        batch = backlog.from_log(reader)
        assert len(batch) <= 3
        taken += batch
        backlog.done(len(taken))
    assert taken == [(1, g.payload) for g in groups]
    backlog.add([item_group(21, 1, 1)])
    assert backlog.batch() is not None, "once caught up, payloads are kept again"
