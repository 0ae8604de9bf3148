"""Random group commands with crashes in between: each target once, in order, and nobody else."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactor import ReactorError
from reactor.testing import Rig
from tests.workflows.checks import assert_invariants
from tests.workflows.groups.conftest import assert_operations, finish, in_pieces_of
from tests.workflows.groups.samples import Noter
from workflows import WorkflowEngine

GROUPS = ("a", "b")
WORKFLOWS = 8

FILTER = st.one_of(
    st.builds(lambda group: {"correlation_id": group}, st.sampled_from(GROUPS)),
    st.builds(lambda ids: {"ids": sorted(ids)}, st.sets(st.integers(1, WORKFLOWS), max_size=5)),
    st.just({"type": "noter"}),
)
COMMAND = st.one_of(
    st.tuples(st.just("note"), FILTER),
    st.tuples(st.just("note"), FILTER),
    st.tuples(st.just("again"), st.integers(0, 30)),
    st.tuples(st.just("advance"), st.integers(1, 3)),
    st.tuples(st.just("crash"), st.none()),
    st.tuples(st.just("cancel"), st.integers(1, WORKFLOWS)),
    st.tuples(st.just("stop"), st.integers(1, 6)),
)


class Model:
    """Which words each workflow should have been told, in order; ``may`` where a stop or an end left it open."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.told: dict[int, list[str]] = {workflow_id: [] for workflow_id in range(1, WORKFLOWS + 1)}
        self.cancelled: set[int] = set()
        self.stopped: set[str] = set()

    def targets(self, chosen: dict[str, Any]) -> list[int]:
        """Live workflows that a filter chooses."""
        live = [i for i in self.told if i not in self.cancelled]
        if "ids" in chosen:
            return [i for i in live if i in chosen["ids"]]
        return [i for i in live if chosen.get("correlation_id", GROUPS[i % 2]) == GROUPS[i % 2]]


def obey(rig: Rig, model: Model, verb: str, given_: Any) -> None:
    if verb == "note":
        word = f"w{len(model.sent)}"
        model.sent.append((word, given_))
        for workflow_id in model.targets(given_):
            model.told[workflow_id].append(word)
        send(rig, word, given_)
    elif verb == "again" and model.sent:
        send(rig, *model.sent[given_ % len(model.sent)])
    elif verb == "advance":
        rig.advance(given_)
    elif verb == "crash":
        rig.crash()
        rig.reopen()
    elif verb == "cancel" and given_ not in model.cancelled:
        rig.call("workflow_cancel", given_, "at random")
        model.cancelled.add(given_)
    elif verb == "stop":
        row = rig.row("workflow_group_operation", given_)
        try:
            rig.call("workflow_group_stop", given_, "at random")
        except ReactorError:
            return
        model.stopped.add(orjson.loads(row.payload)["word"])


def send(rig: Rig, word: str, chosen: dict[str, Any]) -> None:
    rig.call("workflow_group", "signal", chosen, None, word, "", "note", {"word": word}, "all")


@given(st.lists(COMMAND, max_size=25))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_each_target_is_told_once_and_in_order(commands: list[tuple[str, Any]]) -> None:
    """REQ-13, F1, A53: whatever is sent again, stopped, cancelled or crashed in between."""
    with Rig(WorkflowEngine([Noter])) as rig:
        in_pieces_of(rig, 3)
        for i in range(WORKFLOWS):
            rig.start("noter", correlation_id=GROUPS[(i + 1) % 2])
        model = Model()
        for command in commands:
            obey(rig, model, *command)
            assert_operations(rig)
        finish(rig)
        assert_operations(rig)
        assert_invariants(rig)
        for workflow_id, wanted in model.told.items():
            heard = orjson.loads(rig.row("workflow", workflow_id).state)["words"]
            if workflow_id not in model.cancelled and model.stopped.isdisjoint(wanted):
                assert heard == wanted
            else:
                rest = iter(wanted)
                assert all(word in rest for word in heard), "in order, each once, and none of another's"
        assert rig.rows("timer_error") == []
