"""Runs commands in this process and catches what they print."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest

from reactor import cli


class Printed(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


class Terminal:
    """``run("sql", "SELECT 1")`` is what ``reactor sql "SELECT 1"`` does, with output to a pipe."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capture = capture

    def run(self, *arguments: str) -> Printed:
        """Run one command."""
        self._monkeypatch.setattr(sys, "argv", ["reactor", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = self._capture.readouterr()
        status = ended.value.code
        return Printed(status if isinstance(status, int) else 0, captured.out, captured.err)
