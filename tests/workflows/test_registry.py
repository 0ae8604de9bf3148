"""The types of one engine."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import Refusal, SenderError
from tests.workflows.samples import Counter, Nap
from workflows import WorkflowEngine
from workflows.registry import Registry


def test_types_stand_in_the_order_of_registration() -> None:
    """A02: the order of the start-up lines."""
    assert Registry([Nap, Counter]).names == ["nap", "counter"]
    assert [kind.name for kind in Registry([Counter, Nap])] == ["counter", "nap"]
    assert len(Registry()) == 0


def test_an_unknown_type_is_named_with_the_way_out() -> None:
    """A45: the error names the type, those that are known, and how to register one."""
    with pytest.raises(
        SenderError, match=r"'nope'; registered are nap, counter. Add .*WorkflowEngine\(types="
    ) as caught:
        Registry([Nap, Counter]).require("nope")
    assert caught.value.code == "unknown_type"
    assert caught.value.details == {"workflow_type": "nope", "known_types": ["nap", "counter"]}


@pytest.mark.parametrize(
    ("types", "reason"),
    [([Nap, Nap], "nap is registered twice"), ([int], "is no workflow type"), (["nap"], "is no workflow type")],
)
def test_wrong_registrations_are_refused(types: Any, reason: str) -> None:
    """The reason says what to do."""
    with pytest.raises(Refusal, match=reason):
        Registry(types)


def test_engines_share_no_types() -> None:
    """Two programs in one process: what one registers the other does not know."""
    one, other = WorkflowEngine(types=[]), WorkflowEngine(types=[])
    assert one.register(Nap) is Nap
    assert one.registry.names == ["nap"]
    assert "nap" not in other.registry
