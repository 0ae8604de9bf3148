"""Generate, once per table, the function that turns keyword arguments into a checked row.

An insert spends most of its time looking at its arguments. Written out for the table at hand (``if type(hp)
is not int or ...``) that is three times faster than a loop over columns. Only names that the schema has
checked to be plain identifiers reach the source; values are bound, never printed into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from reactor.schema import TableSchema

_TYPES = (int, str, float, bool, bytes)


def compile_builder(schema: TableSchema) -> Callable[..., Any]:
    """A function taking the columns as keywords and returning the row.

    It raises ``ValueError`` for a value that does not fit and ``TypeError`` for a missing or unknown
    column; the table turns both into errors that name the column.
    """
    # Under names no column can have: a column may well be called `type` or `bytes`.
    bound: dict[str, Any] = {"_row": schema.row_type, **{f"_{t.__name__}": t for t in _TYPES}}
    bound["_type"] = type
    parameters: list[str] = []
    body: list[str] = []
    for i, column in enumerate(schema.columns):
        name = f"{column.name}"
        bound[f"_check_{i}"] = column.checker()
        if column.name == schema.primary_key and schema.auto:
            parameters.append(f"{name}=0")
        elif column.has_default:
            bound[f"_default_{i}"] = column.default_value()
            parameters.append(f"{name}=_default_{i}")
        else:
            parameters.append(name)
        body.append(f"    if {_doubt(column.type, name, column.optional)}:")
        body.append(f"        {name} = _check_{i}({name})")
    names = ", ".join(c.name for c in schema.columns)
    source = "\n".join([f"def build(*, {', '.join(parameters)}):", *body, f"    return _row({names})"])
    exec(compile(source, f"<insert into {schema.name}>", "exec"), bound)
    built: Callable[..., Any] = bound["build"]
    return built


def _doubt(kind: Any, name: str, optional: bool) -> str:
    """The condition under which the full check has to look at the value."""
    if kind.is_integer:
        doubt = f"_type({name}) is not _int or not {kind.low} <= {name} <= {kind.high}"
    elif kind.name == "text":
        doubt = f"_type({name}) is not _str or not {name}.isascii()"
    elif kind.name == "f64":
        doubt = f"_type({name}) is not _float or {name} != {name}"
    elif kind.name in ("bool", "bytes"):
        doubt = f"_type({name}) is not _{kind.name}"
    else:
        doubt = "True"
    return f"{name} is not None and ({doubt})" if optional else doubt


# Texts that repeat (types, steps, owners) are few; a column with more different ones than this does not repeat itself.
_SHARED_MAX = 4_096


def sharing(
    schema: TableSchema, rows: Iterable[Sequence[Any]], numbers: dict[int, int] | None = None
) -> Iterator[Sequence[Any]]:
    """The rows with equal texts of a column, and equal times of a row, as one object each.

    With ``numbers``, a dict that all tables share, so are equal whole numbers: ids that rows of other tables refer to.

    What was one object when it was written comes back from storage as many. For a million rows that is the difference
    between one and one and a half gigabytes.
    """
    texts = [i for i, c in enumerate(schema.columns) if c.type.name == "text" and c.name != schema.primary_key]
    times = [i for i, c in enumerate(schema.columns) if c.type.name == "timestamp"]
    known: list[tuple[int, dict[str, str]]] = [(i, {}) for i in texts]
    ids = [i for i, c in enumerate(schema.columns) if c.type.name in ("i64", "u64")] if numbers is not None else []
    same = (numbers if numbers is not None else {}).setdefault
    pairs = list(pairwise(times))
    if not known and not pairs and not ids:
        yield from rows
        return
    for values in rows:
        row = list(values)
        for at, shared in known:
            text = row[at]
            if text is not None:
                found = shared.get(text)
                if found is not None:
                    row[at] = found
                elif len(shared) < _SHARED_MAX:
                    shared[text] = text
        for at in ids:
            number = row[at]
            if number is not None:
                row[at] = same(number, number)
        for first, second in pairs:
            if row[first] == row[second]:
                row[second] = row[first]
        yield row
