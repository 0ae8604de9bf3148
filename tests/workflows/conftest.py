"""Rigs for workflow tests. Every rig is checked against the invariants when its test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor.testing import Rig
from tests.workflows.checks import assert_invariants
from tests.workflows.history import assert_course
from tests.workflows.scripts.checks import assert_scripts
from workflows import BUILT_IN, Handler, WorkflowEngine

MakeRig = Callable[..., Rig]


@pytest.fixture(autouse=True)
def invariants_hold(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rig is looked at when it is closed: its tables, and the course that led there.

    ``@pytest.mark.damages`` is for tests that spoil the tables on purpose.
    """
    close = Rig.close

    def look_and_close(rig: Rig) -> None:
        try:
            if rig.is_open and "workflow" in rig.engine.store.tables:
                assert_course(rig.engine, rig.storage.log)
                assert_scripts(rig)
                assert_invariants(rig)
        finally:
            close(rig)

    if request.node.get_closest_marker("damages") is None:
        monkeypatch.setattr(Rig, "close", look_and_close)


@pytest.fixture
def make_rig() -> Iterator[MakeRig]:
    """``make_rig(Nap, Counter, audit=True, limits=...)``; the five built-in types if none is named.

    ``start_us`` is when it begins.
    """
    rigs: list[Rig] = []

    def make(*types: type[Handler[Any]], limits: Any = None, start_us: int | None = None, **options: Any) -> Rig:
        given = {"limits": limits, "start_us": start_us}
        engine = WorkflowEngine(types or BUILT_IN, **options)
        rigs.append(Rig(engine, **{name: value for name, value in given.items() if value is not None}))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()
