"""A live query: what ``parse_live_query`` makes of a text and ``Subscriptions`` runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlglot import exp

from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.live.condition import Always, Condition, Ref, Some, conjuncts, constants, every, quoted, refs
from reactor.live.predicate import compile_condition
from reactor.live.refusal import unknown_table, unsupported
from reactor.live.syntax import SelectParts, read_select, select_parts
from reactor.live.view import Predicate, has_hash_index
from reactor.live.where import Named, Scope, kind_class, unwrapped
from reactor.schema import TableSchema


class Route(NamedTuple):
    """Every row that matches has one of ``values`` in ``column``: the hash a change is routed by."""

    column: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on one table, compiled. ``residual`` is what is left to test once the route has found the row;
    None when nothing is."""

    matches: Predicate
    route: Route | None
    residual: Predicate | None


@dataclass(frozen=True, slots=True)
class SemiJoin:
    """Rows stay only if some row of ``inner_table`` passes ``inner`` and has in ``inner_column`` the value of
    their own ``outer_column``. NULL has no partner."""

    outer_column: str
    inner_table: str
    inner_column: str
    inner: Filter

    @property
    def inner_matches(self) -> Predicate:
        """The condition on the inner table."""
        return self.inner.matches


@dataclass(frozen=True, slots=True)
class LiveQuery:
    """One query over rows of ``table``. ``canonical`` is SQL in normal form: equal queries, equal text."""

    canonical: str
    table: str
    where: Filter
    semijoin: SemiJoin | None = None

    @property
    def matches(self) -> Predicate:
        """The condition on ``table`` alone; a semi-join asks for a partner besides."""
        return self.where.matches

    @property
    def route(self) -> Route | None:
        """The equality or IN constraint that changes are routed by, if the condition has one."""
        return self.where.route


def parse_live_query(sql: str, schemas: Mapping[str, TableSchema], limits: Limits = DEFAULT_LIMITS) -> LiveQuery:
    """The live query that ``sql`` says, over the tables that the asker may read.

    Raises ``SenderError``: ``unsupported_query`` with the part and what is supported, ``unknown_table`` and
    ``unknown_column`` with what exists.
    """
    parts = read_select(sql, limits)
    try:
        return _Builder(schemas).build(parts)
    except RecursionError:
        return unsupported("nesting", "The query is nested too deeply")


@dataclass(frozen=True, slots=True)
class _Link:
    """The equality of a semi-join."""

    outer: Ref
    inner: Ref
    schema: TableSchema


class _Builder:
    def __init__(self, schemas: Mapping[str, TableSchema]) -> None:
        self._schemas = schemas

    def build(self, parts: SelectParts) -> LiveQuery:
        if parts.join is not None:
            return self._joined(parts, parts.join)
        outer = Named(self._schema(parts.source.table), parts.source.alias, inner=False)
        _check_star(parts.projection, outer.alias)
        scope, plain = Scope([outer]), []
        links: list[tuple[_Link, Condition]] = []
        for node in _and_parts(parts.where):
            if isinstance(node, exp.In) and node.args.get("query"):
                links.append(self._subquery(node, scope))
            else:
                plain.append(scope.condition(node))
        if len(links) > 1:
            unsupported("IN (SELECT …)", "Only one IN (SELECT …) is supported")
        return _query(outer.schema, every(plain), *(links[0] if links else (None, Always(True))))

    def _schema(self, name: str) -> TableSchema:
        return self._schemas.get(name) or unknown_table(name, self._schemas)

    def _subquery(self, node: exp.In, scope: Scope) -> tuple[_Link, Condition]:
        tree = node.args["query"]
        while isinstance(tree, exp.Subquery | exp.Paren):
            tree = tree.this
        parts = select_parts(tree)
        if parts.join is not None:
            unsupported("JOIN", "A subquery may not have a JOIN")
        inner = Named(self._schema(parts.source.table), parts.source.alias, inner=True)
        inner_scope = Scope([inner])
        link = _Link(scope.ref(unwrapped(node.this)), inner_scope.ref(parts.projection), inner.schema)
        condition = every(inner_scope.condition(p) for p in _and_parts(parts.where))
        return link, condition

    def _joined(self, parts: SelectParts, join: tuple[Any, exp.Expression]) -> LiveQuery:
        second, on = join
        if second.alias == parts.source.alias:
            unsupported("JOIN", f"Both tables are called {second.alias}; give one an alias")
        alias = _star_table(parts.projection)
        if alias not in (parts.source.alias, second.alias):
            unsupported(
                "projection",
                f"A JOIN gives the rows of one of its tables; write SELECT {parts.source.alias}.*",
            )
        tables = [Named(self._schema(s.table), s.alias, inner=s.alias != alias) for s in (parts.source, second)]
        scope = Scope(tables)
        link = _on(on, scope, next(t.schema for t in tables if t.inner))
        sides: dict[bool, list[Condition]] = {False: [], True: []}
        whole = every(scope.condition(p) for p in _and_parts(parts.where))
        for part in conjuncts(whole):
            inner = {ref.inner for ref in refs(part)}
            if len(inner) > 1:
                unsupported(
                    "WHERE over both tables",
                    "In a JOIN each condition between ANDs must be about one table; one of them mixes the two",
                )
            sides[inner == {True}].append(part)
        outer_schema = next(t.schema for t in tables if not t.inner)
        return _query(outer_schema, every(sides[False]), link, every(sides[True]))


def _and_parts(node: exp.Expression | None) -> list[exp.Expression]:
    """The top-level operands of AND, without parentheses."""
    found: list[exp.Expression] = []
    waiting = [] if node is None else [node]
    while waiting:
        each = unwrapped(waiting.pop())
        if isinstance(each, exp.And):
            waiting += [each.expression, each.this]
        else:
            found.append(each)
    return found


def _star_table(projection: exp.Expression) -> str | None:
    """``t`` for ``t.*``, None for anything else."""
    if isinstance(projection, exp.Column) and isinstance(projection.this, exp.Star):
        if any(projection.this.args.values()) or projection.args.get("db"):
            return None
        return projection.table.lower()
    return None


def _check_star(projection: exp.Expression, alias: str) -> None:
    if isinstance(projection, exp.Star) and not any(projection.args.values()):
        return
    if _star_table(projection) != alias:
        unsupported("projection", f"Only whole rows of one table are supported; write SELECT * or SELECT {alias}.*")


def _on(node: exp.Expression, scope: Scope, inner_schema: TableSchema) -> _Link:
    node = unwrapped(node)
    if not isinstance(node, exp.EQ):
        unsupported("JOIN", "ON takes one equality of two columns; further conditions belong in WHERE")
    left, right = scope.ref(unwrapped(node.this)), scope.ref(unwrapped(node.expression))
    if left.inner == right.inner:
        unsupported("JOIN", "ON must compare a column of one table with a column of the other")
    return _Link(right, left, inner_schema) if left.inner else _Link(left, right, inner_schema)


# -- the finished query ---------------------------------------------------------------------------------


def _query(schema: TableSchema, outer: Condition, link: _Link | None, inner: Condition) -> LiveQuery:
    text = f"SELECT * FROM {quoted(schema.name)}"
    if link is not None:
        _check_link(link)
    if Always(False) in (outer, inner):
        return LiveQuery(f"{text} WHERE FALSE", schema.name, _filter(Always(False), schema))
    if link is None:
        return LiveQuery(text + _where_text(outer), schema.name, _filter(outer, schema))
    partner = f"{link.outer} IN (SELECT {link.inner} FROM {quoted(link.schema.name)}{_where_text(inner)})"
    semijoin = SemiJoin(link.outer.column.name, link.schema.name, link.inner.column.name, _filter(inner, link.schema))
    return LiveQuery(text + _where_text(outer, partner), schema.name, _filter(outer, schema), semijoin)


def _where_text(condition: Condition, partner: str = "") -> str:
    if condition == Always(True):
        texts = []
    else:
        texts = [f"({condition})" if partner and isinstance(condition, Some) else str(condition)]
    if partner:
        texts.append(partner)
    return f" WHERE {' AND '.join(texts)}" if texts else ""


def _check_link(link: _Link) -> None:
    outer, inner = link.outer.column, link.inner.column
    kinds = {kind_class(outer.type), kind_class(inner.type)}
    if len(kinds) > 1 or "json" in kinds:
        unsupported(
            "JOIN",
            f"{outer.name} ({outer.type.name}) and {inner.name} ({inner.type.name}) cannot be equal",
        )


def _filter(condition: Condition, schema: TableSchema) -> Filter:
    matches = compile_condition(condition)
    if condition == Always(False):
        return Filter(matches, Route(schema.primary_key, ()), None)
    parts = conjuncts(condition)
    candidates = [(*found, part) for part in parts if (found := constants(part)) is not None]
    if not candidates:
        return Filter(matches, None, matches)
    ref, values, chosen = min(candidates, key=lambda c: _route_rank(c[0].column.name, c[1], schema))
    rest = every(p for p in parts if p is not chosen)
    residual = None if rest == Always(True) else compile_condition(rest)
    return Filter(matches, Route(ref.column.name, values), residual)


def _route_rank(name: str, values: tuple[Any, ...], schema: TableSchema) -> tuple[bool, bool, bool, int]:
    """Primary key first, then unique, then indexed columns, then those with the fewest values."""
    unique = any(i.unique and i.columns == (name,) for i in schema.indexes)
    return name != schema.primary_key, not unique, not has_hash_index(schema, name), len(values)
