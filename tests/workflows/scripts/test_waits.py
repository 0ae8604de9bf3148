"""What scripts wait for, alone and together."""

from __future__ import annotations

import json
from typing import Any

from tests.workflows.scripts.scripts import nap
from tests.workflows.scripts.world import crash, make_rig
from workflows import NoPayload, Payload, seconds
from workflows.scripts import ChildFailedError, Run, script


class Item(Payload):
    """What a signal carries."""

    name: str


SIGNALS = {"item": Item, "stop": NoPayload}


@script(clock="wall", signals=SIGNALS)
async def collect(w: Run, payload: NoPayload) -> list[str]:
    """Take three items, a second apart."""
    names = []
    for _ in range(3):
        item = await w.signal("item")
        names.append(item.name)
        await w.sleep(seconds(1))
    return names


def test_signals_sent_before_the_wait_are_kept_in_order() -> None:
    """B44, A64, D76: four signals before anybody waits survive a crash; three are taken in order, one is left."""
    with make_rig(collect) as rig:
        started = rig.call("workflow_start", "collect")
        for name in "abcd":
            rig.call("workflow_signal", started, "item", {"name": name})
        crash(rig)
        rig.advance(seconds(3))
        row = rig.row("workflow", started)
        assert (row.status, json.loads(row.result)) == ("Completed", ["a", "b", "c"])


def test_a_signal_that_is_not_waited_for_wakes_nobody() -> None:
    """B44, C12: it is a row of its own; the workflow's row is not touched."""
    with make_rig(collect) as rig:
        started = rig.call("workflow_start", "collect")
        rig.call("workflow_signal", started, "stop")
        before = rig.row("workflow", started)
        rig.call("workflow_signal", started, "stop")
        assert rig.row("workflow", started) == before
        assert before.waits == "item" and before.current_step == "item"


def test_a_wrong_payload_is_refused_and_nothing_is_stored() -> None:
    """A64, C24: the sender gets an error, and the script still waits."""
    with make_rig(collect) as rig:
        started = rig.call("workflow_start", "collect")
        client = rig.connect("ab" * 16)
        answer = client.ask(call="workflow_signal", args=[started, "item", {"nome": "x"}])
        assert answer["error"]["code"] == "bad_arguments"
        assert rig.rows("workflow_message") == [] and rig.row("workflow", started).sequence == 1


def test_select_of_several_that_are_ready_takes_the_first_named() -> None:
    """A62: the order of names decides, and what was not opened was never asked for."""

    @script(clock="wall", signals=SIGNALS)
    async def chooser(w: Run, payload: NoPayload) -> Any:
        await w.sleep(1)
        chosen = await w.select(stop=w.signal("stop"), item=w.signal("item"))
        return [chosen.name, len([1])]

    with make_rig(chooser) as rig:
        started = rig.call("workflow_start", "chooser")
        rig.call("workflow_signal", started, "item", {"name": "x"})
        rig.call("workflow_signal", started, "stop")
        rig.advance(1)
        assert json.loads(rig.row("workflow", started).result) == ["stop", 1]
        assert [p.kind for p in rig.rows("execution_pointer")] == ["sleep", "signal"]


def test_all_waits_for_each_and_the_first_error_cancels_the_rest() -> None:
    """E31, A62: values in the order asked for; an error drops the timers of the others."""

    @script(clock="wall", signals=SIGNALS)
    async def both(w: Run, payload: NoPayload) -> Any:
        async def fails() -> None:
            await w.sleep(seconds(2))
            raise ValueError("late")

        first = await w.all(w.sleep(seconds(3)), w.signal("item"))
        try:
            await w.all(w.sleep(seconds(100)), fails())
        except ValueError as error:
            return [first[1].name, str(error)]

    with make_rig(both) as rig:
        started = rig.call("workflow_start", "both")
        rig.advance(seconds(1))
        rig.call("workflow_signal", started, "item", {"name": "x"})
        rig.advance(seconds(2))
        assert len([t for t in rig.rows("workflow_timer") if not t.cancelled]) == 2
        crash(rig)
        rig.advance(seconds(2))
        assert json.loads(rig.row("workflow", started).result) == ["x", "late"]


def test_a_child_gives_its_result_and_its_failure() -> None:
    """A66, E36: the end of a child resumes the parent with the result; a failed one raises; a refused start too."""

    @script(clock="wall")
    async def child(w: Run, payload: NoPayload) -> Any:
        await w.sleep(seconds(2))
        if w.entity_id == 13:
            raise ValueError("unlucky")
        return {"entity": w.entity_id}

    @script(clock="wall")
    async def parent(w: Run, payload: NoPayload) -> Any:
        good = await w.child("child", entity_id=7)
        ends = []
        for kind, entity in (("child", 13), ("ghost", 1)):
            try:
                await w.child(kind, entity_id=entity)
            except ChildFailedError as error:
                ends.append(error.status)
        return [good, *ends]

    with make_rig(parent, child) as rig:
        started = rig.call("workflow_start", "parent")
        crash(rig)
        rig.advance(seconds(2))
        crash(rig)
        rig.advance(seconds(2))
        assert json.loads(rig.row("workflow", started).result) == [{"entity": 7}, "Failed", "refused"]


def test_a_child_that_lost_is_cancelled() -> None:
    """A62: the loser of a select ends, with its timers."""

    @script(clock="wall", signals=SIGNALS)
    async def impatient(w: Run, payload: NoPayload) -> str:
        return str((await w.select(child=w.child("nap"), stop=w.signal("stop"))).name)

    with make_rig(impatient, nap) as rig:
        started = rig.call("workflow_start", "impatient")
        rig.call("workflow_signal", started, "stop")
        child = next(row for row in rig.rows("workflow") if row.workflow_type == "nap")
        assert child.status == "Cancelled" and child.parent_id == started
        assert rig.rows("workflow_timer") == []


def test_time_chance_and_ids_come_from_the_record() -> None:
    """C20, D104, REQ-17: a script that is brought up again sees the times and draws the chance of its first life."""

    @script(clock="wall")
    async def dice(w: Run, payload: NoPayload) -> Any:
        seen = []
        for _ in range(4):
            seen.append([w.now, w.time("wall"), w.random.random(), w.new_uuid()])
            await w.sleep(seconds(1))
        return seen

    def play(kill: bool) -> Any:
        with make_rig(dice) as rig:
            started = rig.call("workflow_start", "dice")
            for _ in range(4):
                if kill:
                    crash(rig)
                rig.advance(seconds(1))
            return json.loads(rig.row("workflow", started).result)

    assert play(True) == play(False)
