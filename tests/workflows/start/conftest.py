"""A rig with the sample types, and a short way to start with options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reactor.testing import OWNER, Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.start.samples import ALL

Start = Callable[..., dict[str, Any]]


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """All types of this folder, with the audit on."""
    return make_rig(*ALL, audit=True)


@pytest.fixture
def start(rig: Rig) -> Start:
    """``start("duel", 7, delay_us=5, name="x")``: what is no field of the payload is an option."""

    def begin(
        kind: str, entity_id: int | None = None, *, sender: str = OWNER, payload: Any = None, **given: Any
    ) -> dict[str, Any]:
        given_payload = {k: given.pop(k) for k in ("delay_us", "slot", "depth") if k in given}
        answer: dict[str, Any] = rig.call(
            "workflow_start_with", kind, entity_id, None, payload or given_payload, given or None, sender=sender
        )
        return answer

    return begin
