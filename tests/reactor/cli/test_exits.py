"""Exit codes: one table in the program, the same in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reactor.cli.exits import EXITS, exit_of_code, exit_of_status
from reactor.errors import CODES

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


def rows_of(heading: str) -> list[list[str]]:
    """The cells of the table below a heading of ``docs/cli.md``."""
    section = DOCS.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_documented_exit_codes_are_the_programs() -> None:
    """D80: every code with its meaning, and every error code at the exit code it leads to."""
    documented = {int(row[0]): row[1] for row in rows_of("Exit codes")}
    assert documented == EXITS
    codes = {int(row[0]): set(re.findall(r"`(\w+)`", row[2])) for row in rows_of("Exit codes")}
    for exit_code in EXITS:
        assert codes[exit_code] == {code for code in CODES if exit_of_code(code) == exit_code}, exit_code


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, 0), (204, 0), (400, 2), (401, 4), (403, 4), (404, 5), (408, 7), (409, 2), (429, 2), (500, 6), (503, 6)],
)
def test_statuses(status: int, expected: int) -> None:
    """D80: by the class of the status where there is no code of ours."""
    assert exit_of_status(status) == expected


def test_an_unknown_code_is_a_failure() -> None:
    """A newer server may know more codes than this command."""
    assert exit_of_code("of_the_future") == 1
