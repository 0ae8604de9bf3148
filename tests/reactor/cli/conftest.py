"""Fixtures for the commands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reactor.cli.terminal import Terminal
from tests.wire.serving import PLAYGROUND, Server


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Terminal:
    """A terminal in an empty directory without any of our variables."""
    for name in list(os.environ):
        if name.startswith("REACTOR_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Terminal(monkeypatch, capfd)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running playground."""
    with Server(PLAYGROUND, tmp_path_factory.mktemp("cli") / "data") as running:
        running.call("add", "sword", 1)
        running.call("add", "shield", 2, "round")
        yield running
