"""The expressions of a WHERE clause to ``Condition`` values: names resolved, literals checked against types."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlglot import exp

from reactor.columns import INT64_MAX, INT64_MIN, Column, ColumnType
from reactor.live.condition import (
    OPPOSITE,
    Always,
    Compare,
    Condition,
    IsNull,
    Like,
    Ref,
    among,
    every,
    some,
)
from reactor.live.like import PATTERN_CHARS_MAX
from reactor.live.refusal import unknown_column, unsupported
from reactor.live.syntax import only
from reactor.schema import TableSchema

_OPERATORS: dict[type[exp.Expression], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_FLIPPED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_SHOWN_NODES_MAX = 30
_DIGITS_MAX = 100  # more than any integer column holds; longer numbers are read as floating


class Named(NamedTuple):
    """One table as the expressions see it."""

    schema: TableSchema
    alias: str
    inner: bool


def kind_class(kind: ColumnType) -> str:
    """Which values a type compares with: ``number``, ``text``, ``bytes`` or ``json`` (none)."""
    if kind.is_number or kind.name == "bool":
        return "number"
    return {"enum": "text"}.get(kind.name, kind.name)


def shown(node: exp.Expression) -> str:
    """The expression as SQL for a message, cut to a length a person reads."""
    # Writing SQL recurses and is slow for what nobody would read; so only what is small is written.
    waiting, count = [node], 0
    while waiting:
        count += 1
        if count > _SHOWN_NODES_MAX:
            return "a long expression"
        waiting += waiting.pop().iter_expressions()
    text = node.sql(dialect="sqlite")
    return text if len(text) <= 60 else text[:57] + "…"


def unwrapped(node: exp.Expression) -> exp.Expression:
    """The expression without parentheses around it."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node


class Scope:
    """The tables whose columns an expression may name; turns expressions into conditions.

    Raises ``SenderError`` with ``unsupported_query`` or ``unknown_column``.
    """

    def __init__(self, tables: Sequence[Named]) -> None:
        self._tables = tables

    # -- names -------------------------------------------------------------------------------

    def ref(self, node: exp.Expression) -> Ref:
        """The column that the node names."""
        if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Identifier):
            part = shown(node)
            unsupported(part, f"Where a column is expected stands {part}")
        only(node, "this", "table")
        name, alias = node.name.lower(), node.table.lower()
        tables = [t for t in self._tables if alias in ("", t.alias)]
        if not tables:
            known = " and ".join(t.alias for t in self._tables)
            unsupported(shown(node), f"{node.table} does not name a table of this SELECT, which has {known}")
        found = [Ref(c, t.inner) for t in tables for c in t.schema.columns if c.name == name]
        if not found:
            columns = [c for t in tables for c in t.schema.columns]
            unknown_column(node.name, " JOIN ".join(t.schema.name for t in tables), columns)
        if len(found) > 1:
            unsupported(shown(node), f"Both tables have a column {name}; write table.{name}")
        return found[0]

    # -- conditions --------------------------------------------------------------------------

    def condition(self, node: exp.Expression, negated: bool = False) -> Condition:
        """The condition that the node, or NOT the node, is true."""
        node = unwrapped(node)
        match node:
            case exp.And() | exp.Or():
                parts = [self.condition(p, negated) for p in _operands(node)]
                # De Morgan: NOT (a AND b) is NOT a OR NOT b.
                return every(parts) if isinstance(node, exp.And) is not negated else some(parts)
            case exp.Not():
                return self.condition(node.this, not negated)
            case exp.EQ() | exp.NEQ() | exp.LT() | exp.LTE() | exp.GT() | exp.GTE():
                return self._comparison(node, negated)
            case exp.In():
                return self._in(node, negated)
            case exp.Between():
                return self._between(node, negated)
            case exp.Is():
                return self._is(node, negated)
            case exp.Like() | exp.Escape():
                return self._like(node, negated)
            case exp.Boolean() | exp.Null():
                return Always(isinstance(node, exp.Boolean) and bool(node.this) is not negated)
            case exp.Column():
                return self._truth(node, negated)
        return unsupported(shown(node), f"{shown(node)} is not supported as a condition")

    def _truth(self, node: exp.Expression, negated: bool) -> Condition:
        ref = self.ref(node)
        if ref.column.type.name != "bool":
            name = ref.column.name
            unsupported(shown(node), f"{name} is not a bool column; compare it, as in {name} <> 0")
        return Compare(ref, "=", 0 if negated else 1)  # both unknown for NULL

    def _comparison(self, node: exp.Expression, negated: bool) -> Condition:
        operator = _OPERATORS[type(node)]
        left, right = unwrapped(node.this), unwrapped(node.expression)
        if isinstance(right, exp.Column) and not isinstance(left, exp.Column):
            left, right, operator = right, left, _FLIPPED[operator]
        ref = self.ref(left)
        if isinstance(right, exp.Column):
            self.ref(right)  # a name that does not exist is the more helpful answer: "text" in double quotes
        return _compare(ref, OPPOSITE[operator] if negated else operator, _constant(right, ref.column))

    def _in(self, node: exp.Expression, negated: bool) -> Condition:
        only(node, "this", "expressions", "query", "field")
        ref = self.ref(unwrapped(node.this))
        if node.args.get("query") or node.args.get("field"):
            unsupported(
                "IN (SELECT …)",
                "IN (SELECT …) is supported once, not negated, and joined to the rest by AND only; IN otherwise "
                "takes literals",
            )
        values = [_constant(v, ref.column) for v in node.expressions]
        if negated and None in values:
            return Always(False)  # x NOT IN (…, NULL) is false or unknown
        return among(ref, [v for v in values if v is not None], negated)

    def _between(self, node: exp.Expression, negated: bool) -> Condition:
        only(node, "this", "low", "high")
        ref = self.ref(unwrapped(node.this))
        low, high = (_constant(node.args[n], ref.column) for n in ("low", "high"))
        if negated:
            return some([_compare(ref, "<", low), _compare(ref, ">", high)])
        return every([_compare(ref, ">=", low), _compare(ref, "<=", high)])

    def _is(self, node: exp.Expression, negated: bool) -> Condition:
        ref = self.ref(unwrapped(node.this))
        if not isinstance(unwrapped(node.expression), exp.Null):
            unsupported(shown(node), f"IS is supported with NULL only, so write = instead in {shown(node)}")
        return IsNull(ref, negated)

    def _like(self, node: exp.Expression, negated: bool) -> Condition:
        escape: str | None = None
        if isinstance(node, exp.Escape):
            escape = _text(node.expression)
            if escape is None or len(escape) != 1:
                unsupported("ESCAPE", "ESCAPE takes a text of one character")
            node = unwrapped(node.this)
            if not isinstance(node, exp.Like):
                unsupported("ESCAPE", "ESCAPE is supported after LIKE only")
        only(node, "this", "expression", "negate")
        ref = self.ref(unwrapped(node.this))
        if kind_class(ref.column.type) != "text":
            unsupported("LIKE", f"LIKE works on text; {ref.column.name} is {ref.column.type.name}")
        wanted = unwrapped(node.expression)
        if isinstance(wanted, exp.Null):
            return Always(False)
        pattern = _text(wanted)
        if pattern is None:
            unsupported("LIKE", f"LIKE takes a text literal, not {shown(wanted)}")
        if len(pattern) > PATTERN_CHARS_MAX:
            unsupported("LIKE", f"The LIKE pattern is longer than {PATTERN_CHARS_MAX} characters")
        return Like(ref, pattern, escape, bool(node.args.get("negate")) is not negated)


def _operands(node: exp.Expression) -> list[exp.Expression]:
    """The operands of a chain of one connective, which the parser makes as deep as it is long."""
    kind, found, waiting = type(node), [], [node]
    while waiting:
        each = unwrapped(waiting.pop())
        if type(each) is kind:
            waiting += [each.expression, each.this]
        else:
            found.append(each)
    return found


def _compare(ref: Ref, operator: str, value: Any) -> Condition:
    return Always(False) if value is None else Compare(ref, operator, value)


# -- literals --------------------------------------------------------------------------------------


def _text(node: exp.Expression) -> str | None:
    node = unwrapped(node)
    return str(node.this) if isinstance(node, exp.Literal) and node.is_string else None


def _constant(node: exp.Expression, column: Column) -> Any:
    """The literal as a constant that compares with the column's values; None is NULL."""
    value = _literal(node)
    wanted = kind_class(column.type)
    if wanted == "json":
        unsupported(column.name, f"{column.name} is a json column; only IS [NOT] NULL is supported on it")
    if value is None:
        return None
    given = "text" if isinstance(value, str) else "bytes" if isinstance(value, bytes) else "number"
    if given != wanted:
        unsupported(column.name, _mismatch(column, wanted, given, node))
    return _number(value, column.type) if given == "number" else value


def _mismatch(column: Column, wanted: str, given: str, node: exp.Expression) -> str:
    hints = {"number": "a number", "text": "text in single quotes", "bytes": "bytes such as X'00FF'"}
    hint = hints[wanted]
    if column.type.name in ("timestamp", "duration"):
        hint = "a whole number of microseconds"
    return f"{column.name} is {column.type.name}, so compare it with {hint}, not with {given} ({shown(node)})"


def _number(value: int | float, kind: ColumnType) -> int | float:
    """The number as SQLite would compare it, in one form for equal numbers."""
    if isinstance(value, int):
        # SQLite reads an integer past 64 bits as floating; only our wider columns can hold one exactly.
        exact = kind.is_wide or kind.name == "u64" or INT64_MIN <= value <= INT64_MAX
        return int(value) if exact else float(value)
    return int(value) if value.is_integer() and abs(value) <= INT64_MAX else value


def _literal(node: exp.Expression) -> Any:
    node = unwrapped(node)
    if isinstance(node, exp.Neg):
        value = _literal(node.this)
        if isinstance(value, int | float):
            return -value
    elif isinstance(node, exp.Null):
        return None
    elif isinstance(node, exp.Boolean):
        return int(bool(node.this))
    elif isinstance(node, exp.Literal):
        return str(node.this) if node.is_string else _read_number(str(node.this))
    elif isinstance(node, exp.HexString):
        text = str(node.this)
        if len(text) % 2 == 0 and re.fullmatch(r"[0-9a-fA-F]*", text):
            return bytes.fromhex(text)
        unsupported("literal", "X'…' needs an even number of hexadecimal digits")
    if isinstance(node, exp.Column):
        unsupported(shown(node), f"Columns are compared with literals only, so {shown(node)} cannot stand here")
    return unsupported(shown(node), f"{shown(node)} is not a literal")


def _read_number(text: str) -> int | float:
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX:
        return int(text)
    if not re.fullmatch(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII):
        unsupported("literal", f"{text[:40]} is not a number")
    value = float(text)
    return value if not math.isnan(value) else unsupported("literal", f"{text[:40]} is not a number")
