"""``reactor.storage.projection``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reactor.columns import TYPES, Column, log_value
from reactor.errors import Refusal
from reactor.schema import TableSchema
from reactor.storage import Alive
from reactor.storage.connection import OS_DISK, DiskError
from reactor.storage.log import StoredSchema
from reactor.storage.projection import Projection
from tests.reactor.storage.support import EVERYTHING, ITEM, TICKET, Mood, group


def new_projection(*schemas: TableSchema, path: str = ":memory:") -> Projection:
    """A projection of these tables, numbered from 1."""
    projection = Projection(OS_DISK.connect(path))
    projection.adopt({1: StoredSchema(1, dict(enumerate(schemas, 1)))}, 1, history_id="h")
    return projection


def apply(projection: Projection, first_seq: int, *commits: list[Any]) -> int:
    """Apply commits of schema version 1."""
    return projection.apply([(1, group(first_seq, commits).payload)])


def test_every_form_comes_back() -> None:
    """Memory -> log -> SQL -> memory is the identity for every column type, at its bounds."""
    projection = new_projection(EVERYTHING)
    first = (255, (1 << 64) - 1, (1 << 128) - 1, 0.1, 0.5, "tëxt\0x", b"\x00\xff", True, -1, 5, Mood.ANGRY)
    second = (0, 0, 0, -1e308, -0.0, "", b"", False, (1 << 63) - 1, -5, Mood.CALM)
    third = (1, 1 << 63, (1 << 63) - 1, 1.0, 2.0, "'", b"'", True, -(1 << 63), 0, Mood.CALM)
    fourth = (1, 5, 5, float("inf"), float("-inf"), "", b"", True, 0, 0, Mood.CALM)
    rows: list[tuple[Any, ...]] = [
        ("a", *first, {"a": [1, None, "x"]}, None, None, None),
        ("b", *second, None, 7, False, Mood.CALM),
        ("c", *third, "text", -7, True, Mood.ANGRY),
        ("d", *fourth, [], None, None, None),
    ]
    forms = [[log_value(c.type, v) for c, v in zip(EVERYTHING.columns, row, strict=True)] for row in rows]
    apply(projection, 1, [x for form in forms for x in (1, form)])
    back = list(projection.rows(EVERYTHING))
    assert back == rows
    assert [[type(v) for v in row] for row in back] == [[type(v) for v in row] for row in rows]


def test_the_latest_version_of_a_row_counts() -> None:
    """Many versions become one write; a row that came and went leaves nothing."""
    projection = new_projection(ITEM, TICKET)
    written = apply(
        projection,
        1,
        [1, [1, 10, "a"], 1, [2, 20, "b"], 2, [1, 0, "t"]],
        [1, [1, 11, "a"], -1, 2],
        [1, [3, 30, "c"], -2, 1],
        [-1, 3, 1, [2, 21, "again"]],
    )
    assert written == 4
    assert list(projection.rows(ITEM)) == [(1, 11, "a"), (2, 21, "again")]
    assert list(projection.rows(TICKET)) == []
    assert (projection.reached_seq, projection.reached_at_us) == (4, 4_000_000)
    apply(projection, 5, [-1, 1, -1, 99])
    assert list(projection.rows(ITEM)) == [(2, 21, "again")]


def test_wide_and_text_keys() -> None:
    """Keys are found again in the form SQL keeps them in."""
    wide = replace(ITEM, name="wide", primary_key="id", columns=(Column("id", TYPES["u256"]), *ITEM.columns[1:]))
    projection = new_projection(EVERYTHING, wide)
    apply(projection, 1, [2, [str(1 << 200), 1, "x"], 2, ["5", 2, "y"]])
    apply(projection, 2, [2, [str(1 << 200), 3, "x"], -2, "5"])
    assert list(projection.rows(wide)) == [(1 << 200, 3, "x")]


def test_a_table_of_a_key_alone() -> None:
    """There is nothing to update in it."""
    alone = replace(ITEM, name="alone", columns=ITEM.columns[:1])
    projection = new_projection(alone)
    apply(projection, 1, [1, [1], 1, [2]])
    apply(projection, 2, [1, [1]])
    assert list(projection.rows(alone)) == [(1,), (2,)]


def test_rows_and_seq_are_one_transaction(tmp_path: Path) -> None:
    """P2: when the tables cannot be written, the seq does not move, and the same groups apply later."""
    projection = new_projection(ITEM, path=str(tmp_path / "projection.db"))
    apply(projection, 1, [1, [1, 1, "a"]])
    pages = projection.connection.execute("PRAGMA page_count")[0][0]
    projection.connection.execute(f"PRAGMA max_page_count={pages}")
    many = [x for i in range(2, 2_000) for x in (1, [i, i, "long enough to need more pages"])]
    with pytest.raises(DiskError) as error:
        apply(projection, 2, many)
    assert error.value.kind == "full"
    assert projection.reached_seq == 1
    assert list(projection.rows(ITEM)) == [(1, 1, "a")]
    projection.connection.execute("PRAGMA max_page_count=100000")
    apply(projection, 2, many)
    assert len(list(projection.rows(ITEM))) == 1_999
    projection.connection.close()
    assert Projection(OS_DISK.connect(str(tmp_path / "projection.db"))).reached_seq == 2


def test_durable_seq_moves_with_complete_checkpoints_only(tmp_path: Path) -> None:
    """P1: what a reader kept in the WAL, or was never checkpointed, may still be needed from the log."""
    path = str(tmp_path / "projection.db")
    projection = new_projection(ITEM, path=path)
    apply(projection, 1, [1, [1, 1, "a"]])
    assert projection.durable_seq == 0
    assert projection.checkpoint()
    assert projection.durable_seq == 1
    reader = OS_DISK.connect(path, read_only=True)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM item")
    apply(projection, 2, [1, [1, 2, "a"]])
    assert not projection.checkpoint()
    assert projection.durable_seq == 1
    assert projection.wal_rows > 0
    reader.execute("ROLLBACK")
    assert projection.checkpoint()
    assert projection.durable_seq == 2
    assert projection.wal_rows == 0


def test_alive_is_kept(tmp_path: Path) -> None:
    """A85: the heartbeat tells when the reactor was last up."""
    path = str(tmp_path / "projection.db")
    projection = new_projection(ITEM, path=path)
    assert projection.alive is None
    projection.mark_alive(5, 6)
    projection.mark_alive(7, 8)
    projection.connection.close()
    assert Projection(OS_DISK.connect(path)).alive == Alive(7, 8)


def test_groups_of_an_older_version_apply() -> None:
    """Rows written before a column existed get the default it came with."""
    two = replace(ITEM, columns=(Column("rank", TYPES["u64"], default=1 << 63), *ITEM.columns))
    history = {1: StoredSchema(1, {1: ITEM}), 2: StoredSchema(2, {1: two, 2: TICKET})}
    projection = new_projection(ITEM)
    apply(projection, 1, [1, [1, 1, "old"]])
    projection.adopt(history, 2)
    old, new = group(2, [[1, [2, 2, "late"]], [-1, 7]]), group(4, [[1, [5, 3, 3, "new"], 2, [1, 1, "t"]]])
    projection.apply([(1, old.payload), (2, new.payload)])
    assert list(projection.rows(two)) == [
        (1 << 63, 1, 1, "old"),
        (1 << 63, 2, 2, "late"),
        (5, 3, 3, "new"),
    ]


def test_damaged_rows_are_refused(tmp_path: Path) -> None:
    """P6: damage met while loading is a refusal that says what to do."""
    path = tmp_path / "projection.db"
    projection = new_projection(ITEM, path=str(path))
    apply(projection, 1, [x for i in range(5_000) for x in (1, [i, i, "name"])])
    projection.connection.close()
    data = bytearray(path.read_bytes())
    data[20 * 4096 : 22 * 4096] = b"\xff" * 8192
    path.write_bytes(data)
    projection = Projection(OS_DISK.connect(str(path)))
    with pytest.raises(Refusal, match=r"Move projection\.db away") as error:
        list(projection.rows(ITEM))
    assert error.value.code == "data_damaged"


def test_people_find_ordinary_tables() -> None:
    """Anyone may open the file: ordinary tables and one that tells the seq."""
    projection = new_projection(TICKET)
    apply(projection, 1, [1, [1, 4, "x"]])
    execute = projection.connection.execute
    assert execute("SELECT id, zone, code FROM ticket") == [(1, 4, "x")]
    assert execute("SELECT value FROM reactor_meta WHERE name = 'reached_seq'") == [(1,)]
    assert execute("SELECT value FROM reactor_meta WHERE name = 'history_id'") == [("h",)]
