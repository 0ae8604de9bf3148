"""Finding the module of a directory or file, and what is said when there is none to run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reactor import loading
from reactor.errors import Refusal
from reactor.loading import load_anew, load_module

HEAD = "from reactor import Context, Module, primary_key\n"


@pytest.fixture(autouse=True)
def _restored_path() -> Iterator[None]:
    """What a load leaves behind in this process goes again."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    loading._search_path.clear()
    for name in set(sys.modules) - modules:
        if name.startswith("reactor_module_") or name in loading._siblings:
            del sys.modules[name]
    loading._siblings.clear()


def written(directory: Path, **files: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / f"{name}.py").write_text(text)
    return directory


def refused(path: Path) -> Refusal:
    with pytest.raises(Refusal) as caught:
        load_module(path)
    return caught.value


# -- which module ----------------------------------------------------------------------------------


def test_a_directory_and_a_file(tmp_path: Path) -> None:
    """Both name the same module."""
    directory = written(tmp_path / "game", module=HEAD + "anything = Module('game')\n")
    assert load_module(directory).name == "game"
    assert load_module(directory / "module.py").name == "game"
    assert load_module(str(directory)).name == "game"


def test_the_variable_module_wins(tmp_path: Path) -> None:
    """With several, the one called `module` is meant."""
    text = HEAD + "a = Module('a')\nmodule = Module('b')\nc = Module('c')\n"
    assert load_module(written(tmp_path, module=text)).name == "b"


def test_included_modules_are_not_candidates(tmp_path: Path) -> None:
    """The one that includes the others, also indirectly, is the one."""
    text = HEAD + "low = Module('low')\nmid = Module('mid', includes=[low])\ntop = Module('top', includes=[mid])\n"
    assert load_module(written(tmp_path, module=text)).name == "top"


def test_a_second_name_is_no_second_module(tmp_path: Path) -> None:
    """One module under two names is one."""
    assert load_module(written(tmp_path, module=HEAD + "game = Module('game')\nalias = game\n")).name == "game"


def test_a_variable_module_of_another_kind_is_nothing(tmp_path: Path) -> None:
    """A variable that happens to be called `module` does not hide the real one."""
    assert load_module(written(tmp_path, module=HEAD + "module = 5\ngame = Module('game')\n")).name == "game"


def test_several_modules_are_named(tmp_path: Path) -> None:
    """Nothing is guessed."""
    error = refused(written(tmp_path, module=HEAD + "a = Module('a')\nb = Module('b')\n"))
    assert error.code == "module_failed"
    assert "(a, b)" in error.message and "`module`" in error.message


def test_no_module(tmp_path: Path) -> None:
    """The sentence shows what is missing."""
    error = refused(written(tmp_path, module="x = 1\n"))
    assert error.code == "module_failed" and 'Module("a_name")' in error.message


@pytest.mark.parametrize("name", ["nothing_there", "empty", "notes.txt"])
def test_a_path_that_is_no_module(tmp_path: Path, name: str) -> None:
    """A missing path, a directory without module.py, another kind of file."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    error = refused(tmp_path / name)
    assert error.code == "module_failed" and name in error.message


# -- siblings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["import rules", "from . import rules", "from game import rules"])
def test_siblings_can_be_imported(tmp_path: Path, statement: str) -> None:
    """By their plain name or relatively; a package beside module.py is a sibling, too."""
    written(tmp_path / "game", __init__="", rules="")
    directory = written(tmp_path, module=f"{HEAD}{statement}\nmodule = Module(rules.NAME)\n", rules="NAME = 'ruled'\n")
    (tmp_path / "game" / "rules.py").write_text("NAME = 'ruled'\n")
    assert load_module(directory).name == "ruled"


def test_a_package_with_an_init(tmp_path: Path) -> None:
    """An `__init__.py` is run, and relative imports go through it."""
    files = {"__init__": "NAME = 'packed'\n", "module": HEAD + "from . import NAME\nmodule = Module(NAME)\n"}
    assert load_module(written(tmp_path, **files)).name == "packed"


def test_siblings_of_two_modules_do_not_meet(tmp_path: Path) -> None:
    """Two directories, both with module.py and rules.py: each gets its own; no old code after a change."""
    text = HEAD + "import rules\nfrom .rules import NAME\nassert NAME == rules.NAME\nmodule = Module(rules.NAME)\n"
    one = written(tmp_path / "one", module=text, rules="NAME = 'one'\n")
    two = written(tmp_path / "two", module=text, rules="NAME = 'two'\n")
    assert [load_module(path).name for path in (one, two, one)] == ["one", "two", "one"]
    (one / "rules.py").write_text("NAME = 'changed'\n")
    assert load_module(one).name == "changed"


def test_a_sibling_does_not_replace_what_others_use(tmp_path: Path) -> None:
    """A file called like a module of the library does not get in its way."""
    import json

    written(tmp_path, module=HEAD + "module = Module('game')\n", json="raise RuntimeError\n")
    load_module(tmp_path)
    assert sys.modules["json"] is json


def test_tables_resolve_their_annotations(tmp_path: Path) -> None:
    """Annotations kept as text are looked up in the file they stand in."""
    text = (
        "from __future__ import annotations\n" + HEAD + "from .kinds import Kind\nmodule = Module('game')\n"
        "@module.table()\nclass Thing:\n    id: int = primary_key()\n    kind: Kind\n"
        "@module.reducer\ndef make(ctx: Context, kind: Kind) -> None: ...\n"
    )
    kinds = "import enum\nclass Kind(enum.StrEnum):\n    A = 'a'\n"
    module = load_module(written(tmp_path, module=text, kinds=kinds))
    assert module.tables["thing"].column("kind").type.name == "enum"


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "last_line", "line"),
    [
        ("import no_module_of_that_name\n", "ModuleNotFoundError: No module named 'no_module_of_that_name'", 1),
        ("x = 1\ny = x / 0\n", "ZeroDivisionError: division by zero", 2),
        ("def broken(:\n", "SyntaxError: invalid syntax", 1),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3", 2),
    ],
)
def test_an_import_that_fails(tmp_path: Path, text: str, last_line: str, line: int) -> None:
    """The sentence has the traceback's last line and the place; the whole traceback is in the details."""
    error = refused(written(tmp_path, module=text))
    assert error.code == "module_failed"
    assert last_line in error.message
    assert f"module.py:{line})" in error.message
    assert last_line in error.details["traceback"] and "importlib" not in error.details["traceback"]


def test_the_place_is_the_authors(tmp_path: Path) -> None:
    """An error deep in a library is told by the author's line that led there."""
    directory = written(tmp_path, module="import helper\n", helper="import json\n\njson.loads('{')\n")
    assert "helper.py:3)" in refused(directory).message


def test_a_wrong_declaration_keeps_its_code_and_gets_a_place(tmp_path: Path) -> None:
    """`bad_declaration` names the table, the reason, and the line."""
    text = HEAD + "m = Module('m')\n@m.table()\nclass T:\n    x: int\n"
    error = refused(written(tmp_path, module=text))
    assert error.code == "bad_declaration"
    assert "primary key" in error.message and "module.py:3)" in error.message


def test_a_failed_load_can_be_mended(tmp_path: Path) -> None:
    """Nothing of a load that failed is left behind."""
    directory = written(tmp_path, module=HEAD + "import rules\nmodule = Module(rules.NAME)\n", rules="1 / 0\n")
    assert "ZeroDivisionError" in refused(directory).message
    (directory / "rules.py").write_text("NAME = 'mended'\n")
    assert load_module(directory).name == "mended"


# -- loading anew ----------------------------------------------------------------------------------


def test_loading_anew_takes_the_files_as_they_are(tmp_path: Path) -> None:
    """REQ-12: also when the file was written again within the second, with the same length; classes are new ones."""
    text = HEAD + "from rules import NAME\nfrom .deep import more\nmodule = Module(NAME + more.MORE)\n"
    directory = written(tmp_path, module=text, rules="NAME = 'a0'\n")
    written(tmp_path / "deep", more="MORE = 'b0'\n")
    assert load_module(directory).name == "a0b0"
    for number in range(1, 10):
        (directory / "rules.py").write_text(f"NAME = 'a{number}'\n")
        (directory / "deep" / "more.py").write_text(f"MORE = 'b{number}'\n")
        module, _ = load_anew(directory)
        assert module.name == f"a{number}b{number}"
    assert not list(directory.rglob("__pycache__"))


def test_what_was_loaded_before_can_be_put_back(tmp_path: Path) -> None:
    """A09: code of the version that goes on imports its own files later, not those of the one that was refused."""
    text = HEAD + "import rules\nmodule = Module(rules.NAME)\ndef late():\n    import rules\n    return rules.NAME\n"
    directory = written(tmp_path, module=text + "module.late = late\n", rules="NAME = 'old'\n")
    old: Any = load_module(directory)
    (directory / "rules.py").write_text("NAME = 'new'\n")
    new, put_back = load_anew(directory)
    assert new.name == "new"
    put_back()
    assert old.late() == "old"
    (directory / "module.py").write_text("import rules\nraise RuntimeError\n")
    with pytest.raises(Refusal):
        load_anew(directory)
    assert old.late() == "old"
    other = written(tmp_path / "other", module=HEAD + "module = Module('other')\n")
    assert load_module(other).name == "other"
