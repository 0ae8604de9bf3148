"""Conditions compiled to Python functions ``row -> bool``.

The function is one expression over attributes of the row. Constants are bound as default arguments: they never
become part of the source, so no text of a query is ever executed; names of columns come from the schema.
"""

from __future__ import annotations

import keyword
from typing import Any

from reactor.columns import Column
from reactor.errors import invariant
from reactor.live.condition import Always, Among, Compare, Condition, Every, IsNull, Like, Some
from reactor.live.like import like_matcher
from reactor.live.view import Predicate

_OPERATORS = {"=": "==", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def compile_condition(condition: Condition) -> Predicate:
    """A function that says whether the condition is true for a row; its columns are all of one table."""
    source = _Source()
    body = source.of(condition)
    parameters = "".join(f", {name}={name}" for name in source.constants)
    # Safe to evaluate: built from column names of the schema, fixed operators and numbered constants.
    made: Predicate = eval(f"lambda row{parameters}: {body}", {"__builtins__": {}, **source.constants})
    return made


def may_be_null(column: Column) -> bool:
    """Whether a value of the column may be None. JSON null is None too, also in a column not optional."""
    return column.optional or column.type.name == "json"


class _Source:
    """Source text under construction, and the constants it names."""

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {}

    def _constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def _read(self, column: Column) -> str:
        invariant(column.name.isidentifier(), "column names are checked when declared")
        if keyword.iskeyword(column.name):
            return f"{self._constant(getattr)}(row, {column.name!r})"
        return f"row.{column.name}"

    def of(self, condition: Condition) -> str:
        """The expression for the condition, in parentheses where it has parts."""
        match condition:
            case Every(parts):
                return "(" + " and ".join(map(self.of, parts)) + ")"
            case Some(parts):
                return "(" + " or ".join(map(self.of, parts)) + ")"
            case Always(truth):
                return str(truth)
            case _:
                guard, test = self._leaf(condition)
                return f"({guard} and {test})" if guard else test

    def _leaf(self, leaf: Compare | Among | IsNull | Like) -> tuple[str, str]:
        """``(what must hold first, the test)``: the guard keeps out NULL where the test would fail or be wrong."""
        column = leaf.ref.column
        value = self._read(column)
        known = f"{value} is not None" if may_be_null(column) else ""
        match leaf:
            case IsNull(negated=negated):
                return "", f"{value} is {'not ' if negated else ''}None"
            case Compare(operator=operator, value=constant):
                test = f"{value} {_OPERATORS[operator]} {self._constant(constant)}"
                # None equals no constant, so = needs no guard; < would raise and <> would be wrong.
                return "" if operator == "=" else known, test
            case Among(values=values, negated=negated):
                test = f"{value} {'not in' if negated else 'in'} {self._constant(frozenset(values))}"
                return known if negated else "", test
            case Like(pattern=pattern, escape=escape, negated=negated):
                matcher = self._constant(like_matcher(pattern, escape))
                test = f"{matcher}({value}) is {'' if negated else 'not '}None"
                return known, test
