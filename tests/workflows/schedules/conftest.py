"""Rigs for tests of schedules, looked over when the test is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.schedules.kit import Work, assert_sound
from workflows import Handler


@pytest.fixture
def make_rig(make_rig: MakeRig) -> Iterator[MakeRig]:
    """As the one above; ``make_rig()`` knows the type ``work``."""
    rigs: list[Rig] = []

    def make(*types: type[Handler[Any]], **options: Any) -> Rig:
        rigs.append(make_rig(*(types or (Work,)), **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        if rig.is_open:
            assert_sound(rig)


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """It is 22:13:20 UTC on 14 November 2023."""
    return make_rig()
