"""Rigs for workflow tests. Every rig is checked against the invariants when its test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor.testing import Rig
from tests.workflows.checks import assert_invariants
from workflows import BUILT_IN, Handler, WorkflowEngine

MakeRig = Callable[..., Rig]


@pytest.fixture
def make_rig() -> Iterator[MakeRig]:
    """``make_rig(Nap, Counter, audit=True, limits=...)``; the five built-in types if none is named."""
    rigs: list[Rig] = []

    def make(*types: type[Handler[Any]], limits: Any = None, **options: Any) -> Rig:
        engine = WorkflowEngine(types or BUILT_IN, **options)
        rig = Rig(engine) if limits is None else Rig(engine, limits=limits)
        rigs.append(rig)
        return rig

    yield make
    for rig in rigs:
        if rig.is_open:
            assert_invariants(rig)
        rig.close()
