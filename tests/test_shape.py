"""The shape of the program: who may ask for the time, who knows whom, and how long a file may be."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import reactor

ROOT = Path(reactor.__file__).parent.parent
PROGRAM = ("reactor", "workflows", "client")
FILES = sorted(path for package in PROGRAM for path in (ROOT / package).rglob("*.py"))
ALL_FILES = sorted({*FILES, *(p for top in ("tests", "examples") for p in (ROOT / top).rglob("*.py"))})

CODE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


# The parts that touch the world: everything else is handed the time, chance and waiting it needs.
_WORLDLY = (
    "reactor/clock.py",
    "reactor/budget.py",
    "reactor/datadir.py",
    "reactor/server/",
    "reactor/cli/",
    "reactor/sql/",
    "reactor/storage/process.py",
    "reactor/storage/projector.py",
    "reactor/storage/writer.py",
    "client/aio.py",
    "client/blocking.py",
)
_ASKS = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "secrets": {"token_hex", "token_bytes", "randbits", "randbelow", "choice"},
    "uuid": {"uuid1", "uuid4"},
    "os": {"urandom", "getrandom"},
    "random": {"random", "randint", "choice", "shuffle", "uniform", "seed", "randrange", "getrandbits"},
    "asyncio": {"sleep"},
    "threading": {"Thread", "Timer"},
}


def _worldly_uses(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in _ASKS.get(node.value.id, ()):
                yield f"{node.lineno}: {node.value.id}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module in _ASKS:
            for alias in node.names:
                if alias.name in _ASKS[node.module]:
                    yield f"{node.lineno}: from {node.module} import {alias.name}"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_time_and_chance_are_handed_in(path: Path) -> None:
    """Only the clock, the guard and what touches the world ask; so everything else can be simulated."""
    if not _name(path).startswith(_WORLDLY):
        assert list(_worldly_uses(_tree(path))) == []


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_no_bare_assert_in_the_program(path: Path) -> None:
    """``python -O`` removes them; ``invariant`` stays."""
    found = [node.lineno for node in ast.walk(_tree(path)) if isinstance(node, ast.Assert)]
    assert found == []


def _code_lines(path: Path) -> int:
    """Lines that hold code: no blank lines, comments or docstrings."""
    lines: set[int] = set()
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


@pytest.mark.parametrize("path", ALL_FILES, ids=_name)
def test_files_can_be_read_in_one_sitting(path: Path) -> None:
    """Longer ones have two subjects."""
    assert _code_lines(path) <= CODE_LINES_MAX


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_functions_fit_a_screen(path: Path) -> None:
    """Longer ones do two things."""
    long = [
        f"{node.name}: {(node.end_lineno or 0) - node.lineno + 1}"
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_no_file_is_a_drawer() -> None:
    """A name that says nothing collects everything."""
    assert [_name(p) for p in ALL_FILES if p.stem in ("utils", "util", "helpers", "misc", "common")] == []


# -- who knows whom ----------------------------------------------------------------------------------


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module_name(path): path for path in FILES}


def _imports(path: Path) -> set[str]:
    """The program's own modules that a module imports when it is loaded."""
    found: set[str] = set()
    for node in _loaded(_tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
    return {name for name in found if name in MODULES}


def _loaded(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs when the module is imported: not the bodies of functions, nor what is for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield node
        yield from _loaded(node)


@pytest.mark.parametrize(
    ("package", "foreign"),
    [("reactor", ("workflows", "client")), ("client", ("reactor.", "workflows")), ("workflows", ("client",))],
)
def test_who_may_know_whom(package: str, foreign: tuple[str, ...]) -> None:
    """The reactor knows nothing of workflows; the client can be used without either."""
    for name, path in MODULES.items():
        if name.split(".")[0] == package:
            for node in ast.walk(_tree(path)):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                wrong = [n for n in names if (n + ".").startswith(tuple(f.rstrip(".") + "." for f in foreign))]
                # The server's binary names the client's address forms for its own command line.
                assert not wrong or name.startswith("reactor.cli"), f"{name} imports {', '.join(wrong)}"


def test_no_import_cycles() -> None:
    """A module can be understood before the ones that use it. A package's ``__init__`` only collects."""
    graph = {name: _imports(path) - {name} for name, path in MODULES.items()}
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> None:
        if name in path:
            raise AssertionError("import cycle: " + " -> ".join([*path[path.index(name) :], name]))
        if name in done:
            return
        path.append(name)
        for other in sorted(graph[name]):
            visit(other)
        path.pop()
        done.add(name)

    for name in sorted(graph):
        visit(name)


def test_the_parts_do_not_know_each_other() -> None:
    """Sessions, tables, timers and subscriptions meet in the engine and the host, and nowhere else."""
    allowed = {
        "reactor.table": {"columns", "errors", "indexes", "rowbuilder", "schema"},
        "reactor.store": {"columns", "errors", "limits", "schema", "table"},
        "reactor.timers": {"scopes", "table", "columns", "errors"},
        "reactor.scopes": {"columns", "errors", "schema", "table"},
        "reactor.engine": {
            "budget", "columns", "context", "counters", "derived", "errors", "limits", "live", "messages", "module",
            "results", "scopes", "store", "system", "table", "timers",
        },
        "reactor.session": {"errors", "limits", "messages", "wire"},
    }  # fmt: skip
    for name, parts in allowed.items():
        known = {other.split(".")[1] for other in _imports(MODULES[name]) if other.startswith("reactor.")}
        assert known <= parts, f"{name} imports {known - parts}"


def test_only_the_server_touches_the_network() -> None:
    """No socket, event loop or process in what is simulated."""
    worldly = {"asyncio", "socket", "ssl", "multiprocessing", "subprocess", "threading", "uvicorn", "starlette"}
    for name, path in MODULES.items():
        if name.startswith(
            ("reactor.server", "reactor.cli", "reactor.storage", "reactor.sql", "reactor.datadir", "client")
        ):
            continue
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Import):
                assert not {a.name.split(".")[0] for a in node.names} & worldly, name
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in worldly, name
