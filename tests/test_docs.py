"""The pages tell the truth: every code is documented, every link leads somewhere, every name is explained."""

from __future__ import annotations

import re

import reactor
from reactor.errors import CODES
from tests.guides import DOCS

_ROW = re.compile(r"^\| `([a-z_]+)` \| (\d{3}) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def test_every_code_is_documented_and_every_documented_code_exists() -> None:
    """Code, status and meaning are those of ``errors.CODES``, in their order, and each says what to do."""
    rows = _ROW.findall((DOCS / "errors.md").read_text())
    assert [(code, int(status), meaning) for code, status, meaning, _ in rows] == [
        (code, status, meaning) for code, (status, meaning) in CODES.items()
    ]
    assert all(remedy.strip() for *_, remedy in rows)


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
