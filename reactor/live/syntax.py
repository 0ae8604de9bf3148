"""Text of a live query to a syntax tree, with bounds on what a stranger's text may cost.

The tokens are looked at before they are parsed: nesting, number of literals and parameters are cheap to see there,
and the parser, which recurses, then never gets anything deep.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sqlglot import Token, TokenType, exp
from sqlglot.dialects.sqlite import SQLite
from sqlglot.errors import ParseError, TokenError

from reactor.limits import Limits
from reactor.live.refusal import unsupported

NESTING_MAX = 24
"""Open parentheses, or NOT and minus signs in a row: the parser takes about 15 Python frames for each."""

_OPENING = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE)
_CLOSING = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END)
_PREFIX = (TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE)
_LITERALS = (TokenType.NUMBER, TokenType.STRING, TokenType.HEX_STRING)
_PARAMETERS = (TokenType.PLACEHOLDER, TokenType.PARAMETER, TokenType.COLON)


class Source(NamedTuple):
    """A table named in FROM or JOIN and the name that columns are qualified with."""

    table: str
    alias: str


class SelectParts(NamedTuple):
    """The parts of a SELECT that nothing but supported parts were found in."""

    projection: exp.Expression
    source: Source
    join: tuple[Source, exp.Expression] | None
    where: exp.Expression | None


def read_select(sql: str, limits: Limits) -> SelectParts:
    """The one SELECT in the text; raises ``SenderError`` ``unsupported_query``."""
    if len(sql) > limits.live_query_chars_max:
        unsupported(
            "length",
            f"The query has {len(sql)} characters; the limit is {limits.live_query_chars_max}",
        )
    if "\0" in sql or not _is_unicode(sql):
        unsupported("text", "The query contains a NUL or a character that is not Unicode text")
    try:
        tokens = SQLite().tokenize(sql)
    except TokenError:
        unsupported("syntax", "The query cannot be read: a quote or a comment is not closed")
    except Exception:  # the library's defects on hostile text are the sender's problem, not ours
        unsupported("syntax", "The query cannot be read as SQL")
    while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
        tokens.pop()
    _check_tokens(tokens, sql, limits)
    return select_parts(_parse(tokens, sql))


def _is_unicode(sql: str) -> bool:
    try:
        sql.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_tokens(tokens: list[Token], sql: str, limits: Limits) -> None:
    if not tokens or tokens[0].token_type is not TokenType.SELECT:
        first = tokens[0].text[:40] if tokens else "nothing"
        unsupported("statement", f"The query must start with SELECT, not with {first}")
    depth = run = literals = 0
    for position, token in enumerate(tokens):
        kind = token.token_type
        depth += (kind in _OPENING) - (kind in _CLOSING)
        run = run + 1 if kind in _PREFIX else 0
        literals += kind in _LITERALS
        if kind is TokenType.SEMICOLON:
            unsupported("statement", "A live query is one statement")
        if kind in _PARAMETERS or re.match(r"[$@:?]", token.text if kind is TokenType.VAR else ""):
            unsupported("parameter", "Parameters are not supported; write the value as a literal")
        if kind is TokenType.HEX_STRING and sql[token.start : token.start + 1] == "0":
            unsupported("literal", "Hexadecimal numbers are not supported; write the number in decimal")
        if kind is TokenType.NOT and token.text == "!":
            unsupported("!", "The operator ! is not supported; write NOT")
        if kind is TokenType.DOT and position > 2 and tokens[position - 2].token_type is TokenType.DOT:
            unsupported("a.b.c", "A schema name before the table is not supported; write table.column")
        if max(depth, run) > NESTING_MAX:
            unsupported("nesting", f"The query is nested more than {NESTING_MAX} deep")
    if literals > limits.live_query_literals_max:
        unsupported(
            "literals",
            f"The query has {literals} literals; the limit is {limits.live_query_literals_max}",
        )


def _parse(tokens: list[Token], sql: str) -> exp.Expression:
    try:
        parsed = SQLite().parser().parse(tokens, sql)
    except ParseError as error:
        at = error.errors[0] if error.errors else {}
        near = f"{at.get('highlight') or 'its end'}"[:40]
        unsupported("syntax", f"The query cannot be read as SQL near {near}, line {at.get('line', 1)}")
    except RecursionError:
        unsupported("nesting", "The query is nested too deeply")
    except Exception:  # as above: whatever the parser trips over, the query is not one we can read
        unsupported("syntax", "The query cannot be read as SQL")
    tree = parsed[0] if len(parsed) == 1 else None
    if not isinstance(tree, exp.Expression):
        unsupported("statement", "A live query is one statement")
    return tree


# -- the tree's shape ----------------------------------------------------------------------------

_PART_NAMES = {
    "order": "ORDER BY",
    "limit": "LIMIT",
    "offset": "OFFSET",
    "group": "GROUP BY",
    "having": "HAVING",
    "distinct": "DISTINCT",
    "with_": "WITH",
    "windows": "WINDOW",
    "into": "INTO",
    "locks": "FOR UPDATE",
    "sample": "TABLESAMPLE",
    "indexed": "INDEXED BY",
    "using": "USING",
    "db": "a schema name before the table",
    "laterals": "LATERAL",
}


def only(node: exp.Expression, *allowed: str) -> None:
    """Refuse whatever else the parser hung on the node: the list of what is allowed, not of what is not."""
    for name, value in node.args.items():
        if name not in allowed and value:
            part = _PART_NAMES.get(name, f"{name.strip('_')} in {node.key.upper()}")
            unsupported(part, f"{part} is not supported in a live query")


def select_parts(tree: exp.Expression) -> SelectParts:
    """Take a SELECT apart; raises ``SenderError`` ``unsupported_query`` for any part outside the subset."""
    if not isinstance(tree, exp.Select):
        part = tree.key.upper()
        unsupported(part, f"{part} is not supported in a live query")
    only(tree, "expressions", "from_", "joins", "where", "kind")
    if tree.args.get("kind"):
        unsupported("SELECT AS", "SELECT AS is not supported in a live query")
    start, joins, where = tree.args.get("from_"), tree.args.get("joins") or [], tree.args.get("where")
    if not isinstance(start, exp.From):
        unsupported("FROM", "The query names no table; add FROM")
    only(start, "this")
    if len(tree.expressions) != 1:
        unsupported("projection", "Only whole rows of one table are supported; write SELECT * or SELECT t.*")
    if len(joins) > 1:
        unsupported("JOIN", "Only one JOIN is supported")
    return SelectParts(
        tree.expressions[0],
        _source(start.this),
        _join(joins[0]) if joins else None,
        where.this if where is not None else None,
    )


def _source(node: exp.Expression) -> Source:
    if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
        unsupported("FROM", "Only a table may stand in FROM and JOIN, not a subquery or a function")
    only(node, "this", "alias")
    alias = node.args.get("alias")
    if alias is None:
        return Source(node.name.lower(), node.name.lower())
    only(alias, "this")
    if not isinstance(alias.this, exp.Identifier):
        unsupported("alias", "A table's alias must be a plain name")
    return Source(node.name.lower(), alias.name.lower())


def _join(join: exp.Expression) -> tuple[Source, exp.Expression]:
    only(join, "this", "on", "kind", "side", "method")
    side, kind, method = (str(join.args.get(n) or "").upper() for n in ("side", "kind", "method"))
    if side or method or kind not in ("", "INNER"):
        words = " ".join(w for w in (method, side, kind, "JOIN") if w)
        unsupported(words, f"{words} is not supported; use JOIN … ON t.x = u.y")
    on = join.args.get("on")
    if not isinstance(on, exp.EQ | exp.Paren):
        unsupported("JOIN", "A JOIN needs ON t.x = u.y, one equality of two columns")
    return _source(join.this), on
