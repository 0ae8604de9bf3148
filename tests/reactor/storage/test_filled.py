"""Columns that are computed for rows stored before them: in memory, in SQL, and when the log is read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reactor.columns import U64, U256
from reactor.errors import Refusal
from reactor.module import Module
from reactor.schema import Fill, declare_table, primary_key
from reactor.testing import Rig


class _Old:
    """A thing without a label."""

    id: int = primary_key(auto=True)
    kind: str
    big: U256 = 0


class _Maybe:
    """A thing with a label that may be missing."""

    id: int = primary_key(auto=True)
    kind: str
    big: U256 = 0
    label: str | None = None


class _New:
    """A thing with a label, and a number that follows from the others."""

    id: int = primary_key(auto=True)
    label: str
    kind: str
    big: U256 = 0
    twice: U64


def _label(row: dict[str, Any]) -> str:
    return f"{row['kind']}-{row['id']}"


def _twice(row: dict[str, Any]) -> int:
    twice: int = row["big"] * 2
    return twice


def _module(cls: type, **filled: Fill) -> Module:
    module = Module("things")
    unique = ["label"] if "label" in cls.__annotations__ else []
    module.add_table(declare_table(cls, name="thing", public=True, unique=unique, filled=filled))
    module.reducer(add)
    return module


def add(ctx: Any, kind: str, big: int) -> int:
    added: int = ctx.db.thing.insert(kind=kind, big=big).id
    return added


NEW = {"label": _label, "twice": _twice}


@pytest.mark.parametrize("stop", [Rig.stop, Rig.crash])
@pytest.mark.parametrize("lost", [False, True])
def test_older_rows_get_the_computed_value(stop: Callable[[Rig], None], lost: bool) -> None:
    """E04: after a clean stop, after a crash with commits that only the log has, and when SQL is built anew."""
    with Rig(_module(_Old)) as rig:
        for n in range(5):
            rig.call("add", "axe", 2**62 + n if n else 0)
        stop(rig)
        if lost:
            (rig.directory / "projection.db").unlink()
        rig.reopen(_module(_New, **NEW))
        assert [(r.id, r.label) for r in rig.rows("thing")] == [(n, f"axe-{n}") for n in range(1, 6)]
        assert rig.sql("SELECT id, label, twice FROM thing ORDER BY id LIMIT 1") == [[1, "axe-1", 0]]
        assert [r.twice for r in rig.rows("thing")] == [2 * r.big for r in rig.rows("thing")]
        assert rig.sql("SELECT COUNT(*) FROM thing WHERE label IS NULL OR twice IS NULL") == [[0]]
        rig.crash()
        rig.reopen()
        assert [r.label for r in rig.rows("thing")] == [f"axe-{n}" for n in range(1, 6)]


def test_rows_with_null_get_it_too_and_others_keep_theirs() -> None:
    """E04: a column that was optional and no longer is."""
    with Rig(_module(_Maybe)) as rig:
        rig.call("add", "axe", 1)
        rig.run(lambda ctx: ctx.db.thing.insert(kind="bow", label="mine"))
        rig.crash()
        rig.reopen(_module(_New, **NEW))
        assert [r.label for r in rig.rows("thing")] == ["axe-1", "mine"]


def test_a_table_larger_than_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """E04: every page of rows is filled."""
    monkeypatch.setattr("reactor.storage.projection._FILL_ROWS", 3)
    with Rig(_module(_Old)) as rig:
        for _ in range(10):
            rig.call("add", "axe", 1)
        rig.stop()
        rig.reopen(_module(_New, **NEW))
        assert [r.label for r in rig.rows("thing")] == [f"axe-{n}" for n in range(1, 11)]


@pytest.mark.parametrize("bad", [lambda row: None, lambda row: 7, lambda row: row["nothing"]])
def test_a_value_that_does_not_fit_refuses_the_start(bad: Fill, tmp_path: Path) -> None:
    """E04: the row and the column are named, and the old module still opens the data."""
    with Rig(_module(_Old)) as rig:
        rig.call("add", "axe", 1)
        rig.stop()
        with pytest.raises(Refusal, match=r"thing.label cannot be computed for the stored row 1") as refused:
            rig.reopen(_module(_New, label=bad, twice=_twice))
        assert refused.value.code == "schema_conflict"
        rig.reopen(_module(_Old))
        assert rig.call("add", "axe", 1) > 1


def test_a_collision_of_computed_values_refuses_the_start() -> None:
    """E05: a unique column stays unique."""
    with Rig(_module(_Old)) as rig:
        rig.call("add", "axe", 1)
        rig.call("add", "axe", 1)
        rig.stop()
        with pytest.raises(Refusal, match="unique index does not fit"):
            rig.reopen(_module(_New, label=lambda row: "same", twice=_twice))


def test_only_columns_can_be_filled() -> None:
    """A misspelt column is refused where it is declared."""
    with pytest.raises(Refusal, match="there is no column lable"):
        declare_table(_New, name="thing", filled={"lable": _label})
