"""A result's rows as bytes: JSON, CSV, or a table for the terminal.

An encoder takes row by row and tells what each adds, so that a result too large is noticed before it is built.
"""

from __future__ import annotations

import base64
import csv
import io
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import orjson

from reactor.errors import refuse

Row = Sequence[Any]

# Wider cells are shortened in the terminal table; the other formats carry them whole.
CELL_CHARS_MAX = 60


class Encoder(Protocol):
    """``start`` once, ``add`` for each row (returns the bytes it adds), ``finish`` once."""

    content_type: str

    def start(self, columns: list[str]) -> None: ...

    def add(self, row: Row) -> int: ...

    def finish(self, elapsed_us: int) -> bytes: ...


def encoder(name: str) -> Encoder:
    """A fresh encoder of that format; ``bad_sql`` lists the formats when there is none."""
    make = FORMATS.get(name)
    if make is None:
        refuse("bad_sql", f"{name!r} is not a result format; there are {', '.join(FORMATS)}.")
    return make()


def _base64(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is no SQL value")


class JsonEncoder:
    """``{"columns":[…],"rows":[[…]],"elapsed_us":n}``; bytes as base64 text, infinities as null."""

    content_type = "application/json"

    def __init__(self) -> None:
        self._buffer = bytearray(b'{"columns":[],"rows":[')
        self._rows = 0

    def start(self, columns: list[str]) -> None:
        """Write the header."""
        self._buffer = bytearray(b'{"columns":%b,"rows":[' % orjson.dumps(columns))

    def add(self, row: Row) -> int:
        """Write a row. One buffer for all: kept apart, 100,000 rows take three times as long."""
        encoded = orjson.dumps(row, default=_base64)
        if self._rows:
            self._buffer += b","
        self._buffer += encoded
        self._rows += 1
        return len(encoded) + 1

    def finish(self, elapsed_us: int) -> bytes:
        """The whole document."""
        self._buffer += b'],"elapsed_us":%d}' % elapsed_us
        return bytes(self._buffer)


class CsvEncoder:
    """RFC 4180: header, CRLF, quotes where needed, UTF-8. NULL is an empty field, bytes are base64 text."""

    content_type = "text/csv; charset=utf-8; header=present"

    def __init__(self) -> None:
        self._buffer = io.StringIO(newline="")
        self._write = csv.writer(self._buffer, lineterminator="\r\n").writerow
        self._bytes = bytearray()

    def start(self, columns: list[str]) -> None:
        """Write the header line."""
        self.add(columns)

    def add(self, row: Row) -> int:
        """Write one line."""
        if bytes in map(type, row):
            row = [_base64(value) if isinstance(value, bytes) else value for value in row]
        self._write(row)
        line = self._buffer.getvalue().encode()
        self._buffer.seek(0)
        self._buffer.truncate()
        self._bytes += line
        return len(line)

    def finish(self, elapsed_us: int) -> bytes:
        """All lines."""
        return bytes(self._bytes)


class TableEncoder:
    """A table for the terminal: aligned, numbers to the right, NULL shown, wide values shortened with …

    Control characters are shown as escapes: a stored text cannot steer the reader's terminal.
    """

    content_type = "text/plain; charset=utf-8"

    def __init__(self) -> None:
        self._columns: list[str] = []
        self._rows: list[list[str]] = []
        self._widths: list[int] = []
        self._line_width = 0
        self._numeric: list[bool] = []

    def start(self, columns: list[str]) -> None:
        """Lay out the header."""
        self._columns = [_shortened(_escaped(name)) for name in columns]
        self._widths = [_width(name) for name in self._columns]
        self._line_width = sum(self._widths) + 3 * len(columns)
        self._numeric = [True] * len(columns)

    def add(self, row: Row) -> int:
        """Turn the values into cells; only what will be shown is kept.

        Counted is the table as laid out so far: one wide cell makes every line longer.
        """
        cells = []
        before = len(self._rows) * self._line_width
        for n, value in enumerate(row):
            cell = _cell(value)
            width = len(cell) if cell.isascii() else _width(cell)
            if width > self._widths[n]:
                self._line_width += width - self._widths[n]
                self._widths[n] = width
            if value is not None and not isinstance(value, int | float):
                self._numeric[n] = False
            cells.append(cell)
        self._rows.append(cells)
        return len(self._rows) * self._line_width - before

    def finish(self, elapsed_us: int) -> bytes:
        """Header, rule, rows, and a line with their number and the time."""
        right = [numeric and bool(self._rows) for numeric in self._numeric]
        rule = "-+-".join("-" * width for width in self._widths)
        lines = [self._line(self._columns, right), rule]
        lines += [self._line(cells, right) for cells in self._rows]
        count = len(self._rows)
        lines.append(f"({count} row{'' if count == 1 else 's'}, {elapsed_us / 1000:.1f} ms)")
        return ("\n".join(lines) + "\n").encode()

    def _line(self, cells: list[str], right: list[bool]) -> str:
        padded = []
        for cell, width, to_right in zip(cells, self._widths, right, strict=True):
            blanks = " " * (width - (len(cell) if cell.isascii() else _width(cell)))
            padded.append(blanks + cell if to_right else cell + blanks)
        return " | ".join(padded).rstrip()


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return _shortened(_escaped(value[: CELL_CHARS_MAX + 1]))
    if isinstance(value, bytes):
        return _shortened("x'" + value[:CELL_CHARS_MAX].hex() + "'")
    return str(value)


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _shortened(text: str) -> str:
    if len(text) <= CELL_CHARS_MAX // 2 or _width(text) <= CELL_CHARS_MAX:
        return text
    kept = used = 0
    for character in text:
        used += _width(character)
        if used > CELL_CHARS_MAX - 1:
            break
        kept += 1
    return text[:kept] + "…"


def _width(text: str) -> int:
    """Columns of a terminal that the text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


FORMATS: dict[str, Callable[[], Encoder]] = {"json": JsonEncoder, "csv": CsvEncoder, "table": TableEncoder}
