"""What an author writes: tables, reducers, lifecycle, SQL views, and other modules it includes.

A ``Module`` only collects declarations and refuses wrong ones at once. ``Program`` is the whole of a module and
everything it includes, checked together; the reactor runs a program.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

from reactor.arguments import Arguments
from reactor.derived import DerivedIndex
from reactor.errors import Refusal
from reactor.reports import Query, QueryReader, Report
from reactor.schema import Fill, Index, TableSchema, check_name, declare_table
from reactor.schema import primary_key as _primary_key

Declared = TypeVar("Declared", bound=type)
Function = TypeVar("Function", bound=Callable[..., Any])
Asking = TypeVar("Asking", bound=Callable[..., Query])

ACCESS = ("public", "owner", "internal")


class Reducer:
    """A declared reducer: its function, its arguments, and who may call it.

    ``access`` is ``public`` (every client), ``owner`` (the database's owner), or ``internal`` (only timers,
    the lifecycle and the engine).
    """

    def __init__(
        self, function: Callable[..., Any], name: str, access: str, scope: Mapping[str, Any] | None = None
    ) -> None:
        where = f"reducer {name}"
        check_name(name, where)
        if access not in ACCESS:
            raise Refusal("bad_declaration", f"{where}: access is one of {', '.join(ACCESS)}, not {access!r}")
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise Refusal(
                "bad_declaration", f"{where}: a reducer is a plain function; it runs whole, so it cannot wait"
            )
        self.function = function
        self.name = name
        self.access = access
        self.arguments = Arguments(function, where, scope)
        self.docs = inspect.getdoc(function) or ""

    def to_json(self) -> dict[str, Any]:
        """The reducer as `describe` and the schema route show it."""
        return {"name": self.name, "access": self.access, "params": self.arguments.to_json(), "docs": self.docs}


class Module:
    """A named collection of declarations. See ``docs/modules.md`` for a guided tour."""

    primary_key = staticmethod(_primary_key)

    def __init__(self, name: str, *, includes: Iterable[Module] = ()) -> None:
        self.name = check_name(name.replace("-", "_"), f"module {name}") and name
        self.includes = tuple(includes)
        self.tables: dict[str, TableSchema] = {}
        self.reducers: dict[str, Reducer] = {}
        self.views: dict[str, str] = {}
        self.indexes: dict[str, DerivedIndex] = {}
        self.reports: dict[str, Report] = {}
        self.extensions: dict[str, Callable[[Any], Any]] = {}
        self.init_functions: list[Callable[[Any], None]] = []
        self.start_functions: list[Callable[[Any], Any]] = []
        self.checks: list[Callable[[Any], None]] = []
        self.connected: list[Callable[[Any], None]] = []
        self.disconnected: list[Callable[[Any], None]] = []
        self.gone: list[Callable[[Any], None]] = []
        self.reload_functions: list[Callable[[Any], Any]] = []
        self.unload_functions: list[Callable[[], None]] = []
        self.examinations: list[Callable[[Any, Any], Iterable[Any]]] = []

    def table(
        self,
        *,
        name: str | None = None,
        public: bool = False,
        indexes: Iterable[str | Index] = (),
        unique: Iterable[str | Sequence[str]] = (),
        scheduled: str | None = None,
        filled: Mapping[str, Fill] | None = None,
    ) -> Callable[[Declared], Declared]:
        """Declare the decorated class as a table; the name becomes its row class.

        ``indexes`` and ``unique`` name columns, or ``index(...)``; ``scheduled`` names the reducer a due row runs;
        ``filled`` computes columns for rows that are older than they (see ``declare_table``).
        Raises ``Refusal`` ``bad_declaration`` with the reason.
        """

        scope = sys._getframe(1).f_locals

        def declare(cls: Declared) -> Declared:
            schema = declare_table(
                cls,
                name=name,
                public=public,
                indexes=indexes,
                unique=unique,
                scheduled=scheduled,
                scope=scope,
                filled=filled,
            )
            self.add_table(schema)
            declared: Declared = schema.row_type
            return declared

        return declare

    def add_table(self, schema: TableSchema) -> None:
        """Add a schema that was declared elsewhere."""
        if schema.name in self.tables:
            raise Refusal("bad_declaration", f"table {schema.name} is declared twice in module {self.name}")
        self.tables[schema.name] = schema

    @overload
    def reducer(self, function: Function) -> Function: ...

    @overload
    def reducer(self, *, name: str | None = None, access: str = "public") -> Callable[[Function], Function]: ...

    def reducer(self, function: Function | None = None, *, name: str | None = None, access: str = "public") -> Any:
        """Declare a reducer: ``@module.reducer`` or ``@module.reducer(access="owner")``.

        Its first parameter is the context; the others are the arguments, with types that are checked.
        """

        scope = sys._getframe(1).f_locals

        def declare(declared: Function) -> Function:
            made = Reducer(declared, name or declared.__name__, access, scope)
            if made.name in self.reducers:
                raise Refusal("bad_declaration", f"reducer {made.name} is declared twice in module {self.name}")
            self.reducers[made.name] = made
            return declared

        return declare if function is None else declare(function)

    def init(self, function: Function) -> Function:
        """Run once, in the first commit of a new database; if it raises, there is no database."""
        self.init_functions.append(function)
        return function

    def on_start(self, function: Function) -> Function:
        """Run at every start before the first call; returning True asks to be run again, as a further commit."""
        self.start_functions.append(function)
        return function

    def before_start(self, function: Function) -> Function:
        """Look at the loaded tables before anything runs; raise ``Refusal`` to stop the start."""
        self.checks.append(function)
        return function

    def on_reload(self, function: Function) -> Function:
        """Run when a reload has put this version in place of another, before the next call; ``on_start`` is not run.

        All of them are one commit; if one raises, the version before goes on and nothing was changed. Returning True
        asks to be run again, as a further commit, while calls go on.
        """
        self.reload_functions.append(function)
        return function

    def on_unload(self, function: Function) -> Function:
        """Run, without arguments, when a reload has put another version in place of this one.

        For what is kept in memory beside the tables. It must not raise.
        """
        self.unload_functions.append(function)
        return function

    def examine(self, function: Function) -> Function:
        """Look at stored data for ``reactor check``: ``function(engine, trial)`` returns ``Finding`` objects.

        The tables are loaded as at a start, and nothing may be changed. See ``reactor.checking``.
        """
        self.examinations.append(function)
        return function

    def client_connected(self, function: Function) -> Function:
        """Run as a call when a client connects; if it raises, the client is refused."""
        self.connected.append(function)
        return function

    def client_disconnected(self, function: Function) -> Function:
        """Run as a call when a client is gone, also for those a crash cut off."""
        self.disconnected.append(function)
        return function

    def client_gone(self, function: Function) -> Function:
        """Run as a call when a client is gone for which ``reactor.system.watch_connection`` was called.

        Unlike ``client_disconnected`` it costs nothing for all the others.
        """
        self.gone.append(function)
        return function

    def view(self, name: str, select: str) -> None:
        """Offer ``select`` as a view to SQL for people."""
        check_name(name, f"view {name}")
        if name in self.views:
            raise Refusal("bad_declaration", f"view {name} is declared twice in module {self.name}")
        self.views[name] = select

    def derived_index(self, index: DerivedIndex) -> None:
        """Keep a narrow copy of a table's columns in SQL, for reports; see ``reactor.derived``."""
        if index.name in self.indexes:
            raise Refusal("bad_declaration", f"derived index {index.name} is declared twice in module {self.name}")
        self.indexes[index.name] = index

    def report(
        self,
        function: Asking,
        *,
        name: str | None = None,
        access: str = "public",
        route: str | None = None,
        read_query: QueryReader | None = None,
    ) -> Asking:
        """Declare a report, also as ``@module.report``; returns the function as it is.

        It is called like a reducer and answered from SQL without one; see ``reactor.reports``.

        With ``route`` it also answers ``GET /v1/database/NAME/route``, whose parameters ``read_query`` reads.
        """
        made = Report(function, name or function.__name__, access, route=route, read_query=read_query)
        if made.name in self.reports or made.name in self.reducers:
            raise Refusal("bad_declaration", f"report {made.name} is declared twice in module {self.name}")
        self.reports[made.name] = made
        return function

    def extension(self, name: str, make: Callable[[Any], Any]) -> None:
        """Give every context an attribute ``name``, made by ``make(ctx)`` when a reducer first asks for it."""
        check_name(name, f"extension {name}")
        self.extensions[name] = make


class Program:
    """A module with all it includes, as one set of declarations. Raises ``Refusal`` where they clash."""

    def __init__(self, root: Module, base: Module) -> None:
        """``base`` are the reactor's own declarations, which every program has."""
        self.name = root.name
        self.modules = [base, *_depth_first(root, ())]
        self.tables: dict[str, TableSchema] = {}
        self.reducers: dict[str, Reducer] = {}
        self.views: dict[str, str] = {}
        self.indexes: dict[str, DerivedIndex] = {}
        self.reports: dict[str, Report] = {}
        self.extensions: dict[str, Callable[[Any], Any]] = {}
        for module in self.modules:
            for mine, theirs, kind in (
                (self.tables, module.tables, "table"),
                (self.reducers, module.reducers, "reducer"),
                (self.views, module.views, "view"),
                (self.indexes, module.indexes, "derived index"),
                (self.reports, module.reports, "report"),
                (self.extensions, module.extensions, "extension"),
            ):
                _merge(mine, theirs, kind, module.name)
        for name in self.views.keys() & self.tables.keys():
            raise Refusal("bad_declaration", f"view {name} has the name of a table; SQL knows one of each name")
        self._check_scheduled()
        self._check_indexes()
        for name in self.reports.keys() & self.reducers.keys():
            raise Refusal("bad_declaration", f"report {name} has the name of a reducer; both are called by name")

    def _check_indexes(self) -> None:
        taken = {*self.tables, *self.views}
        for index in self.indexes.values():
            if index.table not in self.tables:
                raise Refusal("bad_declaration", f"derived index {index.name}: there is no table {index.table}")
            index.check(self.tables[index.table])
            for name in (index.name, index.manifest):
                if name in taken:
                    raise Refusal("bad_declaration", f"derived index {index.name}: {name} is the name of a table")
                taken.add(name)

    def _check_scheduled(self) -> None:
        for schema in self.tables.values():
            if schema.scheduled is None:
                continue
            reducer = self.reducers.get(schema.scheduled)
            if reducer is None:
                raise Refusal(
                    "bad_declaration",
                    f"scheduled table {schema.name} names reducer {schema.scheduled}, which is not declared",
                )
            if len(reducer.arguments.names) != 1:
                raise Refusal(
                    "bad_declaration", f"reducer {reducer.name} is run by a timer, so it takes the context and the row"
                )
            # Nobody but the scheduler may fire a timer, however the author declared the reducer.
            reducer.access = "internal"

    def functions(self, kind: str) -> Iterator[Callable[..., Any]]:
        """The lifecycle functions of all modules, included ones first."""
        for module in self.modules:
            yield from getattr(module, kind)


def _depth_first(module: Module, path: tuple[Module, ...]) -> Iterator[Module]:
    seen: list[Module] = []

    def walk(current: Module, path: tuple[Module, ...]) -> None:
        if current in path:
            names = " -> ".join(m.name for m in (*path, current))
            raise Refusal("bad_declaration", f"modules include each other: {names}")
        for included in current.includes:
            walk(included, (*path, current))
        if current not in seen:
            seen.append(current)

    walk(module, path)
    return iter(seen)


def _merge(mine: dict[str, Any], theirs: dict[str, Any], kind: str, module: str) -> None:
    for name, declared in theirs.items():
        if name in mine:
            raise Refusal(
                "bad_declaration", f"{kind} {name} of module {module} is already declared by an included module"
            )
        mine[name] = declared
