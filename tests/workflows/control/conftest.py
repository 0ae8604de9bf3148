"""A rig with types that fail as they are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.control.samples import TYPES, broken


@pytest.fixture(autouse=True)
def mended() -> Iterator[None]:
    """Each test begins and ends with nothing broken."""
    broken.clear()
    yield
    broken.clear()


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """All types of this folder, with the audit on."""
    return make_rig(*TYPES, audit=True)


def seen(rig: Rig, workflow_id: int) -> list[str]:
    """What a workflow noted."""
    noted: list[str] = msgspec.json.decode(rig.row("workflow", workflow_id).state)["seen"]
    return noted


def kinds(rig: Rig, workflow_id: int | None = None) -> list[tuple[Any, ...]]:
    """The events of one workflow, or of all."""
    rows = rig.rows("workflow_event")
    if workflow_id is None:
        return [(e.workflow_id, e.kind, e.cause) for e in rows]
    return [(e.kind, e.cause, e.detail) for e in rows if e.workflow_id == workflow_id]
