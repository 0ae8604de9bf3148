"""``reactor.storage.opening``."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reactor.columns import TYPES, Column
from reactor.errors import Refusal
from reactor.limits import Limits
from reactor.schema import Index
from reactor.storage import Alive, InlineStorage, Opened
from reactor.storage.connection import OS_DISK
from tests.reactor.storage.support import EVERYTHING, ITEM, TICKET, Recorder, group, item_group, opened
from tests.simulation.disk import SimulatedDisk

ITEM_2 = replace(ITEM, columns=(*ITEM.columns, Column("rank", TYPES["i64"], default=5)))


def run(store: Opened, *groups: Any, project: bool = True, close: bool = True) -> None:
    """Append groups; then a clean stop, or an end without one."""
    storage = InlineStorage(store, automatic=False)
    storage.start(Recorder())
    for one in groups:
        storage.append(one)
    storage.pump()
    if project:
        storage.pump_projection()
    if close:
        storage.close()
    else:
        storage.release()


def items(store: Opened) -> dict[int, int]:
    """Item id -> value."""
    return {row[0]: row[1] for row in store.rows("item")}


def test_a_new_store(tmp_path: Path) -> None:
    """A first start begins a history and gives the tables their numbers."""
    store = opened(tmp_path, [ITEM, TICKET])
    assert (store.fresh, store.clean, store.last_seq, store.history_id) == (True, True, 0, "history-1")
    assert store.numbers == {"item": 1, "ticket": 2}
    assert (store.alive, store.recent, store.warnings) == (None, [], [])
    assert list(store.rows("item")) == []
    store.release()


def test_reopening_after_a_clean_stop(tmp_path: Path) -> None:
    """Everything is there again, under the same history."""
    run(opened(tmp_path), item_group(1, 1, 10), item_group(2, 2, 20))
    store = opened(tmp_path, new_history_id="another")
    assert (store.fresh, store.clean, store.last_seq, store.history_id) == (False, True, 2, "history-1")
    assert store.last_at_us == 2_000_000
    assert items(store) == {1: 10, 2: 20}
    store.release()


def test_an_end_without_a_stop_is_noticed_and_folded(tmp_path: Path) -> None:
    """P1: what the log has and the projection has not is applied at the next start."""
    run(opened(tmp_path), item_group(1, 1, 10), close=False)
    run(opened(tmp_path), item_group(2, 1, 11), item_group(3, 2, 20), project=False, close=False)
    store = opened(tmp_path)
    assert (store.clean, store.last_seq) == (False, 3)
    assert items(store) == {1: 11, 2: 20}
    store.release()


def test_alive_comes_back(tmp_path: Path) -> None:
    """A85: the heartbeat survives a killed process."""
    store = opened(tmp_path)
    storage = InlineStorage(store)
    storage.mark_alive(1_000, 500)
    storage.release()
    store = opened(tmp_path)
    assert store.alive == Alive(1_000, 500)
    store.release()


# -- schemas -------------------------------------------------------------------------------------


def test_additions_are_taken(tmp_path: Path) -> None:
    """New tables, columns with defaults and indexes come with a start; numbers stay."""
    run(opened(tmp_path, [TICKET, ITEM]), group(1, [[2, [1, 10, "a"]]]), project=False, close=False)
    later = replace(TICKET, indexes=(*TICKET.indexes, Index(("code", "zone"))))
    store = opened(tmp_path, [EVERYTHING, ITEM_2, later])
    assert store.numbers == {"ticket": 1, "item": 2, "everything": 3}
    assert list(store.rows("item")) == [(1, 10, "a", 5)]
    run(store, group(2, [[2, [2, 20, "b", 7]]]), project=False, close=False)
    store = opened(tmp_path, [EVERYTHING, ITEM_2, later])
    assert list(store.rows("item")) == [(1, 10, "a", 5), (2, 20, "b", 7)]
    assert store.log.schema_no == 2
    indexes = store.projection.connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")
    assert ("ticket(code,zone)",) in indexes
    store.release()


def test_reordered_columns_are_another_version(tmp_path: Path) -> None:
    """Rows are logged in declared order, so another order is a version of its own."""
    run(opened(tmp_path), item_group(1, 1, 10), project=False, close=False)
    turned = replace(ITEM, columns=ITEM.columns[::-1])
    run(opened(tmp_path, [turned]), group(2, [[1, ["b", 20, 2]]]), project=False, close=False)
    store = opened(tmp_path, [turned])
    assert list(store.rows("item")) == [("item 1", 10, 1), ("b", 20, 2)]
    assert store.recent == [(1, [("item", 1)]), (2, [("item", 2)])]
    store.release()


def test_the_same_declaration_is_no_new_version(tmp_path: Path) -> None:
    """Nor is another order of the tables."""
    run(opened(tmp_path, [ITEM, EVERYTHING]))
    store = opened(tmp_path, [EVERYTHING, ITEM])
    assert store.log.schema_no == 1
    assert store.numbers == {"item": 1, "everything": 2}
    store.release()


def test_other_changes_are_refused_and_change_nothing(tmp_path: Path) -> None:
    """A store is not taken over by a declaration that does not fit, and the old one still opens."""
    run(opened(tmp_path, [ITEM, TICKET]), item_group(1, 1, 10))
    for schemas in ([ITEM], [replace(ITEM, columns=ITEM.columns[:2]), TICKET]):
        with pytest.raises(Refusal) as error:
            opened(tmp_path, schemas)
        assert error.value.code == "schema_conflict"
    store = opened(tmp_path, [ITEM, TICKET])
    assert (store.clean, store.log.schema_no, items(store)) == (True, 1, {1: 10})
    store.release()


def test_an_upgrade_lost_by_the_projection_is_made_again() -> None:
    """The log's version is synced, the projection's is not: a power cut may take the latter back."""
    for seed in range(30):
        from random import Random

        disk = SimulatedDisk()
        run(opened(Path("/d"), disk=disk), item_group(1, 1, 10))
        run(opened(Path("/d"), [ITEM_2], disk=disk), group(2, [[1, [2, 20, "b", 7]]]), close=False)
        disk.crash(Random(seed))
        store = opened(Path("/d"), [ITEM_2], disk=disk)
        assert list(store.rows("item")) == [(1, 10, "item 1", 5), (2, 20, "b", 7)]


# -- damage --------------------------------------------------------------------------------------


def test_a_lost_projection_is_rebuilt(tmp_path: Path) -> None:
    """Losing the projection costs a rebuild, never data."""
    run(opened(tmp_path), item_group(1, 1, 10), item_group(2, 2, 20))
    run(opened(tmp_path, [ITEM_2]), group(3, [[-1, 1, 1, [3, 30, "c", 9]]]))
    (tmp_path / "projection.db").unlink()
    store = opened(tmp_path, [ITEM_2])
    assert list(store.rows("item")) == [(2, 20, "item 2", 5), (3, 30, "c", 9)]
    assert "built anew" in store.warnings[0]
    store.release()


@pytest.mark.parametrize("damage", ["garbage", "header", "empty"])
def test_a_damaged_projection_is_set_aside_and_rebuilt(tmp_path: Path, damage: str) -> None:
    """P6: it is kept for whoever wants to look at it."""
    run(opened(tmp_path), item_group(1, 1, 10))
    file = tmp_path / "projection.db"
    if damage == "garbage":
        file.write_bytes(b"garbage" * 1_000)
    elif damage == "header":
        file.write_bytes(b"\xff" * 100 + file.read_bytes()[100:])
    else:
        file.unlink()
        OS_DISK.connect(str(file)).execute("PRAGMA user_version=1")
    store = opened(tmp_path)
    assert items(store) == {1: 10}
    assert (tmp_path / "projection.db.aside").exists()
    store.release()


def test_a_projection_of_another_history_is_not_used(tmp_path: Path) -> None:
    """Two directories' files do not mix."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    run(opened(tmp_path / "a"), item_group(1, 1, 10))
    run(opened(tmp_path / "b", new_history_id="other"), item_group(1, 5, 50))
    (tmp_path / "b" / "projection.db").replace(tmp_path / "a" / "projection.db")
    store = opened(tmp_path / "a")
    assert items(store) == {1: 10}
    assert "another history" in store.warnings[0]
    store.release()


def _trim(tmp_path: Path) -> None:
    storage = InlineStorage(opened(tmp_path))
    storage.start(Recorder())
    for seq in range(1, 6):
        storage.append(item_group(seq, seq, seq))
    storage.trim(keep_after_us=3_000_000)
    storage.close()


def test_a_lost_projection_and_a_trimmed_log_are_refused(tmp_path: Path) -> None:
    """P6: what cannot be rebuilt is not guessed; the message says what to do."""
    _trim(tmp_path)
    kept = (tmp_path / "projection.db").read_bytes()
    (tmp_path / "projection.db").unlink()
    with pytest.raises(Refusal) as error:
        opened(tmp_path)
    assert error.value.code == "data_damaged"
    assert "begins only at commit 3" in error.value.message
    assert "same backup" in error.value.message
    (tmp_path / "projection.db").write_bytes(kept)
    store = opened(tmp_path)
    assert items(store) == {n: n for n in range(1, 6)}
    store.release()


def test_a_missing_log_is_refused(tmp_path: Path) -> None:
    """P6: without the log nobody knows what was answered; nothing is created in its place."""
    run(opened(tmp_path), item_group(1, 1, 10))
    (tmp_path / "log.db").unlink()
    for _ in range(2):
        with pytest.raises(Refusal, match=r"log\.db is missing"):
            opened(tmp_path)


def test_a_log_behind_the_projection_is_refused(tmp_path: Path) -> None:
    """P6: an old copy of the log beside a newer projection lacks answered calls."""
    run(opened(tmp_path), item_group(1, 1, 10))
    old = (tmp_path / "log.db").read_bytes()
    run(opened(tmp_path), item_group(2, 1, 11))
    (tmp_path / "log.db").write_bytes(old)
    with pytest.raises(Refusal) as error:
        opened(tmp_path)
    assert error.value.code == "data_damaged"
    assert error.value.details["projection_seq"] == 2


def test_a_log_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """P6: a damaged log is not replaced by an empty one."""
    run(opened(tmp_path), item_group(1, 1, 10))
    (tmp_path / "log.db").write_bytes(b"garbage" * 1_000)
    with pytest.raises(Refusal) as error:
        opened(tmp_path)
    assert error.value.code == "data_damaged"


def _damage_record(tmp_path: Path, seq: int) -> None:
    raw = sqlite3.connect(tmp_path / "log.db")
    raw.execute("UPDATE record SET payload = zeroblob(length(payload)) WHERE first_seq = ?", (seq,))
    raw.commit()
    raw.close()


def test_a_damaged_record_that_is_still_needed_stops_the_start(tmp_path: Path) -> None:
    """P6: it is named, and nothing is guessed."""
    run(opened(tmp_path), item_group(1, 1, 10))
    run(opened(tmp_path), item_group(2, 1, 11), item_group(3, 1, 12), project=False, close=False)
    _damage_record(tmp_path, 2)
    with pytest.raises(Refusal) as error:
        opened(tmp_path)
    assert error.value.code == "data_damaged"
    assert error.value.details["first_seq"] == 2


def test_a_damaged_record_that_is_not_needed_is_a_warning(tmp_path: Path) -> None:
    """P7: the tables hold it already; only resuming ends before it."""
    run(opened(tmp_path), *(item_group(seq, seq, seq) for seq in range(1, 6)))
    _damage_record(tmp_path, 3)
    store = opened(tmp_path)
    assert items(store) == {n: n for n in range(1, 6)}
    assert [seq for seq, _ in store.recent] == [4, 5]
    assert "3 to 3" in store.warnings[0]
    run(store, item_group(6, 6, 6))


def test_a_full_disk_is_a_refusal_that_says_so() -> None:
    """P6: a start that cannot write does not begin."""
    disk = SimulatedDisk()
    run(opened(Path("/d"), disk=disk), item_group(1, 1, 10))
    disk.full = True
    with pytest.raises(Refusal, match="free space") as error:
        opened(Path("/d"), disk=disk)
    assert error.value.code == "storage_unsafe"
    disk.full = False
    assert items(opened(Path("/d"), disk=disk)) == {1: 10}


# -- recent --------------------------------------------------------------------------------------


def test_recent_has_the_keys_of_the_newest_commits(tmp_path: Path) -> None:
    """A35: what resuming subscriptions need, in memory form, oldest first."""
    row = ["k", 1, 1, "5", 0.5, 0.5, "", b"", True, 0, 0, "calm", None, None, None, None]
    run(
        opened(tmp_path, [ITEM, EVERYTHING]),
        group(1, [[1, [1, 1, "a"], 2, row], [], [-1, 1]]),
        item_group(4, 7, 7),
    )
    store = opened(tmp_path, [ITEM, EVERYTHING])
    assert store.recent == [
        (1, [("item", 1), ("everything", "k")]),
        (2, []),
        (3, [("item", 1)]),
        (4, [("item", 7)]),
    ]
    store.release()


def test_recent_is_bounded(tmp_path: Path) -> None:
    """Only about as many changes as the limit allows are read, the newest."""
    run(opened(tmp_path), *(item_group(seq, seq, seq) for seq in range(1, 101)))
    store = opened(tmp_path, limits=Limits(resume_changes_max=10))
    assert [seq for seq, _ in store.recent] == list(range(91, 101))
    store.release()


# -- relaxed durability --------------------------------------------------------------------------


def test_relaxed_begins_a_new_history_after_an_unclean_end(tmp_path: Path) -> None:
    """P1, P4: answered calls may be gone, so no seq of the old history may be resumed from."""
    run(opened(tmp_path, durability="relaxed"), item_group(1, 1, 10))
    store = opened(tmp_path, durability="relaxed", new_history_id="history-2")
    assert store.history_id == "history-1"
    run(store, item_group(2, 1, 11), close=False)
    store = opened(tmp_path, new_history_id="history-3")
    assert (store.history_id, store.clean, items(store)) == ("history-3", False, {1: 11})
    assert "relaxed" in store.warnings[0]
    store.release()
    store = opened(tmp_path, new_history_id="history-4")
    assert store.history_id == "history-3"
    store.release()


def test_relaxed_goes_on_from_the_projection_when_it_kept_more(tmp_path: Path) -> None:
    """The newest state that survived is the one to go on from; the log starts again after it."""
    run(opened(tmp_path, durability="relaxed"), item_group(1, 1, 10))
    old = (tmp_path / "log.db").read_bytes()
    run(opened(tmp_path, durability="relaxed"), item_group(2, 1, 11), item_group(3, 2, 20))
    raw = sqlite3.connect(tmp_path / "log.db")
    (tmp_path / "log.db").write_bytes(old)
    raw.close()
    raw = sqlite3.connect(tmp_path / "log.db")
    raw.execute("UPDATE meta SET value = 0 WHERE name = 'clean'")
    raw.commit()
    raw.close()
    store = opened(tmp_path, durability="relaxed", new_history_id="history-2")
    assert (store.history_id, store.last_seq, store.recent) == ("history-2", 3, [])
    assert items(store) == {1: 11, 2: 20}
    assert store.last_at_us == 3_000_000
    run(store, item_group(4, 3, 30), close=False)
    store = opened(tmp_path, new_history_id="history-3")
    assert items(store) == {1: 11, 2: 20, 3: 30}
    store.release()
