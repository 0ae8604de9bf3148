"""Values on standard output: tables for a terminal, JSON and NDJSON for programs."""

from __future__ import annotations

import enum
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from reactor.sql.formats import TableEncoder


class Format(enum.StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def is_terminal() -> bool:
    """Whether a person is reading."""
    return sys.stdout.isatty()


def chosen(format: Format | None) -> Format:
    """The format asked for, else a table on a terminal and JSON in a pipe."""
    return format or (Format.TABLE if is_terminal() else Format.JSON)


def print_bytes(content: bytes) -> None:
    """Print bytes as they are."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def print_json(value: Any) -> None:
    """Print a value as one line of JSON, at once."""
    print_bytes(orjson.dumps(value) + b"\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], elapsed_us: int | None = None) -> str:
    """A table as text. The line with the number of rows is there only with ``elapsed_us``."""
    encoder = TableEncoder()
    encoder.start(list(columns))
    for row in rows:
        encoder.add([value if isinstance(value, _PLAIN) else _compact(value) for value in row])
    text = encoder.finish(elapsed_us or 0).decode()
    return text if elapsed_us is not None else text[: text.rindex("\n", 0, -1) + 1]


_PLAIN = (str, int, float, bytes, type(None))


def _compact(value: Any) -> str:
    return orjson.dumps(value).decode()


def ndjson(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """One object a line. A column name that comes twice gets a number: ``id``, ``id_2``."""
    names = distinct(columns)
    return b"".join(orjson.dumps(dict(zip(names, row, strict=True))) + b"\n" for row in rows)


def distinct(columns: Sequence[str]) -> list[str]:
    """The names with a number where one is taken already."""
    names: list[str] = []
    for column in columns:
        name, count = column, 1
        while name in names:
            count += 1
            name = f"{column}_{count}"
        names.append(name)
    return names
