"""Rows as JSON, CSV and terminal table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from reactor.errors import SenderError
from reactor.sql.formats import CELL_CHARS_MAX, FORMATS, encoder

ROWS: list[Sequence[Any]] = [(1, "a", 1.5, b"\x00\xff"), (None, 'q"\r\nz, é', float("inf"), b"")]


def encoded(name: str, columns: list[str], rows: Sequence[Sequence[Any]], elapsed_us: int = 1_234) -> str:
    """The whole document as text."""
    made = encoder(name)
    made.start(columns)
    for row in rows:
        made.add(row)
    return made.finish(elapsed_us).decode()


def test_json() -> None:
    """Bytes are base64 text, infinity is null, the time stands at the end."""
    text = encoded("json", ["a", "b", "c", "d"], ROWS)
    assert orjson.loads(text) == {
        "columns": ["a", "b", "c", "d"],
        "rows": [[1, "a", 1.5, "AP8="], [None, 'q"\r\nz, é', None, ""]],
        "elapsed_us": 1_234,
    }


@pytest.mark.parametrize("name", FORMATS)
def test_no_rows(name: str) -> None:
    """A result without rows still has its header."""
    assert "only" in encoded(name, ["only"], [])


def test_csv_reads_back() -> None:
    """RFC 4180: CRLF, doubled quotes, header; NULL is an empty field."""
    text = encoded("csv", ["a", "b,", "c", "d"], ROWS)
    assert text.startswith('a,"b,",c,d\r\n1,a,1.5,AP8=\r\n')
    assert list(csv.reader(io.StringIO(text, newline="")))[2] == ["", 'q"\r\nz, é', "inf", ""]


@pytest.mark.parametrize("name", ["json", "csv"])
def test_bytes_are_counted_as_they_are_added(name: str) -> None:
    """What add() says is what the document grows by, or a separator more."""
    made = encoder(name)
    made.start(["a"])
    header = len(encoded(name, ["a"], []))
    added = sum(made.add((text,)) for text in ("x" * 1_000, "é" * 500, ""))
    assert 0 <= added + header - len(made.finish(1_234)) <= 1


def test_table_bytes_are_counted_as_laid_out() -> None:
    """One wide cell widens every line, so it counts for every line."""
    made = encoder("table")
    made.start(["a"])
    added = [made.add((text,)) for text in ("x", "x", "x" * 50, "x")]
    assert added == [4, 4, 3 * 53 - 8, 53]
    assert len(made.finish(0)) <= sum(added) + 2 * 53 + len("(4 rows, 0.0 ms)\n")


def test_table_is_aligned() -> None:
    """Numbers to the right, text to the left, NULL shown."""
    text = encoded("table", ["id", "name"], [(1, "a"), (20, None), (300, "ccccc")])
    assert text == " id | name\n----+------\n  1 | a\n 20 | NULL\n300 | ccccc\n(3 rows, 1.2 ms)\n"


def test_table_aligns_wide_characters() -> None:
    """A character that takes two columns counts as two, a combining one as none."""
    lines = encoded("table", ["t", "n"], [("日本", 1), ("e\u0301", 22)]).splitlines()
    assert lines[2:4] == ["日本 |  1", "e\u0301    | 22"]


def test_table_shortens_wide_values() -> None:
    """Long text and long bytes end in an ellipsis and fit the cell."""
    text = encoded("table", ["t", "b"], [("x" * 1_000, b"\xab" * 1_000), ("日" * 1_000, b"")])
    first, second = (line.split(" | ") for line in text.splitlines()[2:4])
    assert first[0] == "x" * (CELL_CHARS_MAX - 1) + "…"
    assert first[1].startswith("x'abab") and first[1].endswith("…")
    assert second[0].strip() == "日" * ((CELL_CHARS_MAX - 1) // 2) + "…"
    assert second[1] == "x''"


def test_table_shows_control_characters_as_escapes() -> None:
    """A stored escape sequence cannot steer the terminal of whoever looks at it."""
    text = encoded("table", ["a\n"], [("\x1b[2J\r\n\u202e",)])
    assert "\x1b" not in text and "\u202e" not in text
    assert "\\x1b[2J\\r\\n\\u202e" in text
    assert text.count("\n") == 4


def test_one_row_is_a_row() -> None:
    """The footer's grammar."""
    assert "(1 row, 1.2 ms)" in encoded("table", ["a"], [(1,)])


def test_unknown_format() -> None:
    """The message lists the formats."""
    with pytest.raises(SenderError, match="json, csv, table"):
        encoder("xml")
