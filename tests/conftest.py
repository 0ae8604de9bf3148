"""What every test leaves behind it as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

_THRESHOLD = gc.get_threshold()


@pytest.fixture(autouse=True)
def garbage_is_collected() -> Iterator[None]:
    """A server tunes the collector for its own process; tests that run one in theirs must not keep that."""
    yield
    if gc.get_freeze_count():
        gc.unfreeze()
    if gc.get_threshold() != _THRESHOLD or not gc.isenabled():
        gc.set_threshold(*_THRESHOLD)
        gc.enable()
