"""The guides tell the truth: every code is documented, and every snippet runs."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

import reactor
from reactor.errors import CODES

DOCS = Path(reactor.__file__).parent.parent / "docs"

_ROW = re.compile(r"^\| `([a-z_]+)` \| (\d{3}) \| (.+?) \| (.+?) \|$", re.MULTILINE)
_SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_code_is_documented_and_every_documented_code_exists() -> None:
    """Code, status and meaning are those of ``errors.CODES``, in their order, and each says what to do."""
    rows = _ROW.findall((DOCS / "errors.md").read_text())
    assert [(code, int(status), meaning) for code, status, meaning, _ in rows] == [
        (code, status, meaning) for code, (status, meaning) in CODES.items()
    ]
    assert all(remedy.strip() for *_, remedy in rows)


@pytest.mark.parametrize("page", ["modules.md", "testing.md"])
def test_the_snippets_of_a_guide_run(page: str) -> None:
    """All of them, as one file, and the tests that they define."""
    text = (DOCS / page).read_text()
    snippets = [(text[: found.start(1)].count("\n"), found[1]) for found in _SNIPPET.finditer(text)]
    assert len(snippets) > 5
    module = types.ModuleType(f"docs_{page[:-3]}")
    sys.modules[module.__name__] = module
    try:
        for line, source in snippets:
            exec(compile("\n" * line + source, str(DOCS / page), "exec"), vars(module))
        for name, value in list(vars(module).items()):
            if name.startswith("test_"):
                value()
    finally:
        del sys.modules[module.__name__]


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link of every page, and of the README, names a file that is there."""
    for page in [*DOCS.glob("*.md"), DOCS.parent / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_module_guide_names_every_name_an_author_imports() -> None:
    """What ``reactor`` exports is explained somewhere in the guides."""
    text = "".join(page.read_text() for page in DOCS.glob("*.md"))
    unknown = [name for name in reactor.__all__ if not re.search(rf"\b{name}\b", text)]
    # Integer types stand in the table as a range: `I8` … `I64`.
    assert set(unknown) <= {"I16", "I32", "U16", "I8", "U8", "ReactorError", "Table", "TimerInfo"}, unknown
