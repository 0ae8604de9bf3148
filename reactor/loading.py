"""Finds the ``Module`` that a directory or a file declares, for `reactor run` and for tests.

A directory holds a ``module.py``; a file is taken as it is. Its siblings can be imported both ways an author would try:
``from .rules import damage`` and ``import rules``. Whatever was loaded from elsewhere under the same names before, in
this process, stays out of the way.
"""

from __future__ import annotations

import hashlib
import importlib.util
import linecache
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import NoReturn

from reactor.errors import Refusal
from reactor.module import Module

MODULE_FILE = "module.py"
MODULE_VARIABLE = "module"

_search_path: list[str] = []
"""What this file has put on ``sys.path``: the directory of the module loaded last."""

_siblings: list[str] = []
"""The names under which the siblings of the module loaded last were imported."""


def load_module(path: str | Path) -> Module:
    """The ``Module`` of a directory with a ``module.py``, or of a Python file.

    It is the variable ``module`` if there is one, else the only module that no other of the file includes. Raises
    ``Refusal``: ``module_failed`` when there is no such file, it cannot be imported, or the choice is not clear;
    ``bad_declaration`` with the place when a declaration is wrong.
    """
    file = _file_of(Path(path))
    return _choose(file, _imported(file))


def load_anew(path: str | Path) -> tuple[Module, Callable[[], None]]:
    """The module as its files are now, while another version of it goes on, for a reload.

    Also returns a function that forgets it again: what the version before imports while it runs is then its own, as it
    was. A load that fails is forgotten by itself. Raises as ``load_module``.
    """
    put_back = _remember()
    try:
        return load_module(path), put_back
    except BaseException:
        put_back()
        raise


def _remember() -> Callable[[], None]:
    """Note what is imported of the module loaded last; the function returned makes it so again."""
    modules = {name: sys.modules[name] for name in _siblings if name in sys.modules}
    search = list(_search_path)

    def put_back() -> None:
        for name in _siblings:
            sys.modules.pop(name, None)
        sys.modules.update(modules)
        _siblings[:] = modules
        _look_in(search)

    return put_back


def _file_of(path: Path) -> Path:
    if path.is_dir():
        file = path / MODULE_FILE
        if not file.is_file():
            raise Refusal("module_failed", f"{path} has no {MODULE_FILE}; name a directory that has one, or a .py file")
        return file.resolve()
    if not path.is_file():
        raise Refusal("module_failed", f"there is no {path}; name a directory with a {MODULE_FILE}, or a .py file")
    if path.suffix != ".py":
        raise Refusal("module_failed", f"{path} is not a .py file")
    return path.resolve()


def _imported(file: Path) -> ModuleType:
    """The file, executed anew as ``<package of its directory>.<its name>``."""
    directory = file.parent
    package = f"reactor_module_{hashlib.blake2b(str(directory).encode(), digest_size=6).hexdigest()}"
    _make_room(directory)
    before = set(sys.modules)
    try:
        _import_package(package, directory)
        return _execute(f"{package}.{file.stem}", file, None)
    except Refusal as error:
        raise Refusal(error.code, f"{error.message} ({_place(error, directory)})", **error.details) from error
    except (Exception, SystemExit) as error:
        _import_failed(file, directory, error)
    finally:
        _siblings[:] = [name for name in set(sys.modules) - before if _lies_in(sys.modules[name], directory)]


def _make_room(directory: Path) -> None:
    """Let names be looked up in ``directory`` first, and forget the siblings of a module loaded before."""
    for name in _siblings:
        sys.modules.pop(name, None)
    _look_in([str(directory)])
    linecache.checkcache()


def _look_in(search: list[str]) -> None:
    for entry in _search_path:
        if entry in sys.path:
            sys.path.remove(entry)
    _search_path[:] = search
    sys.path[:0] = search
    if _finder not in sys.path_hooks:
        sys.path_hooks.insert(0, _finder)
    for entry in list(sys.path_importer_cache):
        if _is_authors(entry):
            del sys.path_importer_cache[entry]
    importlib.invalidate_caches()


class _Loader(SourceFileLoader):
    """Compiles a source file each time it is loaded.

    Python tells a compiled file's age by the second its source was written in and by its size. An author who
    saves, reloads and saves again within that second would go on with the code of before.
    """

    def get_code(self, fullname: str) -> CodeType | None:
        """The code of the file as it is now."""
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def _finder(path: str) -> FileFinder:
    """Finds the author's own files; ``ImportError`` leaves all other directories to Python."""
    if not _is_authors(path):
        raise ImportError(path)
    return FileFinder(path, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Loader, SOURCE_SUFFIXES))


def _is_authors(path: str) -> bool:
    return "site-packages" not in path and any(Path(path).is_relative_to(directory) for directory in _search_path)


def _lies_in(loaded: ModuleType, directory: Path) -> bool:
    origin = getattr(loaded, "__file__", None)
    return loaded.__name__.startswith("reactor_module_") or (
        origin is not None and "site-packages" not in origin and Path(origin).resolve().is_relative_to(directory)
    )


def _import_package(name: str, directory: Path) -> None:
    """Make the directory a package, so that relative imports work with and without an ``__init__.py``."""
    initial = directory / "__init__.py"
    if initial.is_file():
        _execute(name, initial, [str(directory)])
        return
    package = ModuleType(name)
    package.__path__ = [str(directory)]
    sys.modules[name] = package


def _execute(name: str, file: Path, search: list[str] | None) -> ModuleType:
    loader = _Loader(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=search)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be imported as a module")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


# -- which one it is -------------------------------------------------------------------------------


def _choose(file: Path, loaded: ModuleType) -> Module:
    named = getattr(loaded, MODULE_VARIABLE, None)
    if isinstance(named, Module):
        return named
    found = {id(value): value for value in vars(loaded).values() if isinstance(value, Module)}
    included = {id(inner) for module in found.values() for inner in _includes(module)}
    roots = [module for key, module in found.items() if key not in included]
    if len(roots) == 1:
        return roots[0]
    if not found:
        raise Refusal("module_failed", f'{file} declares no module; it needs one: module = Module("a_name")')
    names = ", ".join(sorted(module.name for module in roots or found.values()))
    raise Refusal(
        "module_failed",
        f"{file} has several modules ({names}); call the one to run `{MODULE_VARIABLE}`, or let it include the others",
    )


def _includes(module: Module) -> list[Module]:
    """All that a module includes, also indirectly."""
    found: dict[int, Module] = {}
    waiting = list(module.includes)
    while waiting:
        inner = waiting.pop()
        if id(inner) not in found:
            found[id(inner)] = inner
            waiting += inner.includes
    return list(found.values())


# -- what went wrong -------------------------------------------------------------------------------


def _import_failed(file: Path, directory: Path, error: BaseException) -> NoReturn:
    last_line = traceback.format_exception_only(error)[-1].strip()
    raise Refusal(
        "module_failed",
        f"{file} cannot be imported: {last_line} ({_place(error, directory)})",
        traceback=_author_traceback(error),
    ) from error


def _place(error: BaseException, directory: Path) -> str:
    """``file:line`` of the author's code that led to the error."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if Path(frame.filename).is_relative_to(directory)]
    frame = (theirs or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"


def _author_traceback(error: BaseException) -> str:
    """The traceback without the frames of the import machinery."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    head = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    return "".join([*head, *traceback.format_exception_only(error)])
