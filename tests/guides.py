"""Runs what a page of the guide shows."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import reactor
from reactor.testing import Rig

DOCS = Path(reactor.__file__).parent.parent / "docs"
_SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page_text(page: str) -> str:
    """What ``docs/<page>.md`` says."""
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def pages_with_snippets() -> set[str]:
    """The pages that show Python."""
    return {path.stem for path in DOCS.glob("*.md") if _SNIPPET.search(path.read_text(encoding="utf-8"))}


def run_page(page: str) -> int:
    """Run every snippet of a page, in order, as one module, then the tests that it defines; returns how many snippets.

    A rig that the page calls ``rig`` is closed when it is over, and so looked at.
    """
    text = page_text(page)
    module = types.ModuleType(f"guide_{page}")
    scope: dict[str, Any] = vars(module)
    # Types are looked up by the name of their module.
    sys.modules[module.__name__] = module
    try:
        found = list(_SNIPPET.finditer(text))
        for snippet in found:
            # With the line numbers of the page.
            source = "\n" * text[: snippet.start(1)].count("\n") + snippet[1]
            exec(compile(source, str(DOCS / f"{page}.md"), "exec"), scope)
        for name, value in list(scope.items()):
            if name.startswith("test_"):
                value()
    finally:
        del sys.modules[module.__name__]
        rig = scope.get("rig")
        if isinstance(rig, Rig):
            rig.close()
    return len(found)
