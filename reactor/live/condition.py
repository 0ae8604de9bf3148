"""Conditions as values: what a WHERE clause says, in a form where NULL needs no third truth value.

SQL has three truth values, and a row is kept only when its condition is *true*. Negation is the one
connective that turns something else than true into true. So ``NOT`` is pushed inwards while the condition is
built: De Morgan's rules for AND and OR, and for comparisons the opposite operator, all of which hold with
unknown too (``NOT x < 5`` and ``x >= 5`` are both unknown for a NULL x). What is left are AND and OR over
leaves, and those are monotone: the whole is true exactly when, with "true" against "not true" of each leaf,
it comes out true. From here on each leaf only has to answer "are you true?", and unknown is simply no.

A leaf that compares with a literal NULL is never true, negated or not, so it becomes ``Always(False)``.
Columns hold no NaN (``reactor.columns`` refuses it), so numbers need no fourth answer.

Conditions are normalised (flattened, parts sorted and without repetition, equalities on one column merged into IN),
and ``str()`` is SQL, so that queries which say the same have the same text and share their evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlglot.dialects.sqlite import SQLite

from reactor.columns import Column

_KEYWORDS = frozenset(SQLite.Tokenizer.KEYWORDS) | {"IF", "CONNECT_BY_ROOT", "ORDER", "GROUP", "PARTITION"}

OPPOSITE = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
"""The comparison that is true when the other is false; both are unknown for NULL."""


def quoted(name: str) -> str:
    """A name as it stands in SQL; names that are also keywords get quotes."""
    return f'"{name}"' if name.upper() in _KEYWORDS else name


def literal_text(value: Any) -> str:
    """A constant in memory form as SQL that reads back as the same constant."""
    if isinstance(value, bytes):
        return f"X'{value.hex().upper()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float):
        return repr(value).replace("inf", "9e999")
    return str(int(value))


@dataclass(frozen=True, slots=True)
class Ref:
    """A column of one of the two tables of a query: ``inner`` says whether it is the second one."""

    column: Column
    inner: bool = False

    def __str__(self) -> str:
        return quoted(self.column.name)


@dataclass(frozen=True, slots=True)
class Always:
    """True for every row, or for none."""

    truth: bool

    def __str__(self) -> str:
        return "TRUE" if self.truth else "FALSE"


@dataclass(frozen=True, slots=True)
class Compare:
    """``column operator constant``; the constant is not NULL."""

    ref: Ref
    operator: str
    value: Any

    def __str__(self) -> str:
        return f"{self.ref} {self.operator} {literal_text(self.value)}"


@dataclass(frozen=True, slots=True)
class Among:
    """``column [NOT] IN (constants)``: at least two, different, none NULL."""

    ref: Ref
    values: tuple[Any, ...]
    negated: bool

    def __str__(self) -> str:
        word = "NOT IN" if self.negated else "IN"
        return f"{self.ref} {word} ({', '.join(map(literal_text, self.values))})"


@dataclass(frozen=True, slots=True)
class IsNull:
    """``column IS [NOT] NULL``."""

    ref: Ref
    negated: bool

    def __str__(self) -> str:
        return f"{self.ref} IS {'NOT ' if self.negated else ''}NULL"


@dataclass(frozen=True, slots=True)
class Like:
    """``column [NOT] LIKE pattern [ESCAPE character]``."""

    ref: Ref
    pattern: str
    escape: str | None
    negated: bool

    def __str__(self) -> str:
        tail = "" if self.escape is None else f" ESCAPE {literal_text(self.escape)}"
        word = "NOT LIKE" if self.negated else "LIKE"
        return f"{self.ref} {word} {literal_text(self.pattern)}{tail}"


@dataclass(frozen=True, slots=True)
class Every:
    """All parts are true (AND); at least two."""

    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        return " AND ".join(f"({p})" if isinstance(p, Some) else str(p) for p in self.parts)


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part is true (OR); at least two."""

    parts: tuple[Condition, ...]

    def __str__(self) -> str:
        return " OR ".join(f"({p})" if isinstance(p, Every) else str(p) for p in self.parts)


Condition = Always | Compare | Among | IsNull | Like | Every | Some


def every(parts: Iterable[Condition]) -> Condition:
    """The normal form of the parts joined by AND; no parts are TRUE."""
    return _joined(parts, Every, True)


def some(parts: Iterable[Condition]) -> Condition:
    """The normal form of the parts joined by OR; no parts are FALSE."""
    return _joined(parts, Some, False)


def _joined(parts: Iterable[Condition], kind: Callable[[tuple[Condition, ...]], Condition], neutral: bool) -> Condition:
    flat: list[Condition] = []
    for part in parts:
        if isinstance(part, Always):
            if part.truth is not neutral:
                return part
        elif isinstance(part, Every | Some) and type(part) is kind:
            flat += part.parts
        else:
            flat.append(part)
    by_text = {(p.__class__.__name__, str(p), _inner(p)): p for p in _merged(flat, negated=neutral)}
    # Cheap tests stand first, then the text decides: the order is part of the canonical form.
    ordered = tuple(by_text[k] for k in sorted(by_text, key=lambda k: (_cost(by_text[k]), k[1], k[2])))
    if not ordered:
        return Always(neutral)
    return ordered[0] if len(ordered) == 1 else kind(ordered)


def _inner(part: Condition) -> tuple[bool, ...]:
    return tuple(ref.inner for ref in refs(part))


def _cost(part: Condition) -> int:
    if isinstance(part, Every | Some):
        return 2
    return 1 if isinstance(part, Like) else 0


def _merged(parts: list[Condition], negated: bool) -> Iterator[Condition]:
    """OR joins equalities on a column into one IN; AND joins the unequal ones into one NOT IN."""
    wanted: dict[tuple[bool, str], tuple[Ref, list[Any]]] = {}
    for part in parts:
        found = constants(part, negated)
        if found is None:
            yield part
        else:
            ref, values = found
            wanted.setdefault((ref.inner, ref.column.name), (ref, []))[1].extend(values)
    for ref, every_value in wanted.values():
        yield among(ref, every_value, negated)


def constants(part: Condition, negated: bool = False) -> tuple[Ref, tuple[Any, ...]] | None:
    """``(column, values)`` when the part says the column is (or, negated, is not) one of the values."""
    if isinstance(part, Compare) and part.operator == ("<>" if negated else "="):
        return part.ref, (part.value,)
    if isinstance(part, Among) and part.negated is negated:
        return part.ref, part.values
    return None


def among(ref: Ref, values: Iterable[Any], negated: bool) -> Condition:
    """``column [NOT] IN (values)`` in normal form; the values are not NULL. No values: IN is false."""
    different = tuple(sorted(set(values)))
    if not different:
        return Always(negated)
    if len(different) == 1:
        return Compare(ref, "<>" if negated else "=", different[0])
    return Among(ref, different, negated)


def refs(condition: Condition) -> Iterator[Ref]:
    """Every column the condition reads."""
    if isinstance(condition, Every | Some):
        for part in condition.parts:
            yield from refs(part)
    elif not isinstance(condition, Always):
        yield condition.ref


def conjuncts(condition: Condition) -> tuple[Condition, ...]:
    """The parts that must all be true."""
    return condition.parts if isinstance(condition, Every) else (condition,)
