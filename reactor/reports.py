"""Reports: calls that read and run no reducer.

    def monsters_by_zone(ctx, at_least: int = 1) -> Query:
        sql = "SELECT zone, COUNT(*) FROM monster GROUP BY zone HAVING COUNT(*) >= ?"
        return Query([Statement(sql, [at_least])], lambda results: dict(results[0]))

    module.report(monsters_by_zone)

It is called by name like a reducer, with arguments that are checked like a reducer's, and answered in its turn. Its
function only says what to ask; the statements run in the SQL reader's process, over one state of the tables that has
every commit answered before the call came, so that no reducer waits for it. ``shape`` makes the answer of what they
found. It runs in the reactor's process, so what it is given should be small.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from reactor.arguments import Arguments
from reactor.context import Caller
from reactor.derived import DerivedIndex
from reactor.errors import Fault, ReactorError, Refusal, SenderError
from reactor.limits import Limits
from reactor.schema import check_name
from reactor.sql.messages import Statement

Results = list[list[list[Any]]]
"""For each statement its rows."""

QueryReader = Callable[[Sequence[tuple[str, str]]], dict[str, Any]]
"""From the parameters of a GET request, in order, to the arguments by name; ``SenderError`` for wrong ones."""


class Query(NamedTuple):
    """What a report asks, and what it makes of the rows: a JSON value, or ``SenderError``."""

    statements: Sequence[Statement]
    shape: Callable[[Results], Any]


class ReportContext(NamedTuple):
    """What a report's function knows besides its arguments. ``now`` in µs; ``trusted``: see ``is_trusted``."""

    caller: Caller
    now: int
    limits: Limits
    trusted: frozenset[DerivedIndex]

    def is_trusted(self, index: DerivedIndex) -> bool:
        """Whether a derived index covers every row of its table, so that a query may look at nothing else."""
        return index in self.trusted


class Report:
    """A declared report. ``access`` is ``public`` or ``owner``."""

    def __init__(
        self,
        function: Callable[..., Query],
        name: str,
        access: str,
        *,
        route: str | None = None,
        read_query: QueryReader | None = None,
    ) -> None:
        where = f"report {name}"
        check_name(name, where)
        if access not in ("public", "owner"):
            raise Refusal("bad_declaration", f"{where}: access is public or owner, not {access!r}")
        if (route is None) != (read_query is None):
            raise Refusal("bad_declaration", f"{where}: a route needs read_query, and the other way round")
        self.function = function
        self.name = name
        self.access = access
        self.route = route
        self.read_query = read_query
        self.arguments = Arguments(function, where)
        self.docs = inspect.getdoc(function) or ""

    def plan(self, ctx: ReportContext, args: bytes | tuple[Any, ...]) -> Query:
        """What to ask; raises ``SenderError`` ``forbidden``, ``bad_arguments`` or what the function raises."""
        if self.access != "public" and ctx.caller.identity is not None and not ctx.caller.is_owner:
            raise SenderError("forbidden", f"{self.name} is for the owner of the database")
        values = self.arguments.decode(args) if isinstance(args, bytes) else self.arguments.convert(args)
        return self.function(ctx, *values)

    def to_json(self) -> dict[str, Any]:
        """The report as `describe` and the schema route show it."""
        shown = {"name": self.name, "access": self.access, "params": self.arguments.to_json(), "docs": self.docs}
        return shown if self.route is None else {**shown, "route": self.route}


class ReportQuestion:
    """Token of a report's call on its way through the inbox; ``query`` is what its function said, once it has run."""

    __slots__ = ("answer", "caller", "query")

    def __init__(self, answer: Callable[[int, bytes | ReactorError], None], caller: Caller) -> None:
        self.answer = answer
        self.caller = caller
        self.query = Query((), lambda results: None)

    def shaped(self, content: bytes) -> bytes:
        """The answer, from what the reader sent. Raises ``SenderError`` of the shape, ``Fault`` for its defects."""
        results: Results = msgspec.msgpack.decode(content)
        try:
            return orjson.dumps(self.query.shape(results))
        except ReactorError:
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise Fault("internal", f"the report failed: {type(error).__name__}: {error}") from error
