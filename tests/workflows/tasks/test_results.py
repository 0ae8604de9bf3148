"""A workflow and its tasks: told once of each end, and nothing is left of either when it is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from reactor import SenderError, seconds
from reactor.testing import Rig
from tests.workflows.checks import assert_invariants
from tests.workflows.conftest import MakeRig
from tests.workflows.tasks.mail import QUEUE, Mail, MailState, Postman, put, total
from workflows import Handler, NoPayload, Payload, Workflow, WorkflowEngine
from workflows.handle import TaskEnd


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    """An engine that knows letters."""
    return make_rig(Mail)


def test_a_result_is_one_commit_with_what_it_leads_to(rig: Rig) -> None:
    """C27, F4: the end of the task, the step of the workflow and its end are seen together."""
    workflow = rig.start("mail")
    assert rig.row("workflow", workflow).status == "Suspended"
    assert rig.sql("SELECT * FROM stuck_workflows") == []
    watcher = rig.connect()
    tasks, workflows = watcher.watch("SELECT * FROM task"), watcher.watch("SELECT * FROM workflow")
    postman = Postman(rig)
    task_id, token = postman.claim_one()
    seq = rig.engine.seq
    postman.ok("task_complete", task_id, token, {"sent": True})
    assert rig.engine.seq == seq + 1
    assert tasks.rows[task_id]["status"] == workflows.rows[workflow]["status"] == "Completed"
    assert tasks.frames[-1] is workflows.frames[-1]


def test_a_recovering_start_knows_what_will_wake_it(rig: Rig) -> None:
    """A42, F1: a workflow that waits for a task alone is parked, not given to ``on_recover``."""
    workflow = rig.start("mail")
    before = rig.row("workflow", workflow)
    rig.crash()
    rig.reopen()
    assert rig.row("workflow", workflow) == before
    assert any("(1 parked, 0 taken up again)" in message for _, _, message in rig.logs)


class Careless(Handler[MailState]):
    """Fails at its first task's end, in the way it is told by the task's name."""

    name = "careless"

    def on_start(self, w: Workflow[MailState], payload: NoPayload) -> None:
        w.ctx.tasks.put(QUEUE, "defect", workflow_id=w.id)

    def on_task_end(self, w: Workflow[MailState], task: TaskEnd) -> None:
        put_again = w.ctx.tasks.put(QUEUE, "never", workflow_id=w.id)
        raise RuntimeError(f"task {put_again} will be undone")


def test_a_handler_that_fails_harms_no_worker(make_rig: MakeRig) -> None:
    """P7: the worker's word is accepted and durable; the workflow bears its own defect, and its tasks go."""
    rig = make_rig(Careless)
    workflow = rig.start("careless")
    postman = Postman(rig)
    task_id, token = postman.claim_one()
    assert postman.ok("task_complete", task_id, token, 1) == "completed"
    assert rig.row("workflow", workflow).status == "Failed"
    assert [row.status for row in rig.rows("task")] == ["Completed"]


def test_tasks_end_with_their_workflow(rig: Rig) -> None:
    """D70: what nobody waits for is cancelled in the commit of the end; who is at it hears so."""
    workflow = rig.start("mail", payload={"letters": 3, "patience": 1, "options": {"timeout_us": seconds(60)}})
    free = put(rig)
    postman = Postman(rig)
    done, held = postman.claim(2)
    postman.ok("task_complete", done["id"], done["token"], None)
    assert [row.status for row in rig.rows("task")] == ["Completed", "Cancelled", "Cancelled", "Ready"]
    assert postman.code("task_heartbeat", held["id"], held["token"], seconds(9)) == "stale_lease"
    assert [t.task_id for t in rig.rows("task_timer") if t.task_id] == []
    assert rig.row("workflow", workflow).result.count("completed") == 1
    assert [total(rig, what) for what in ("completed", "cancelled")] == [1, 2]
    assert postman.claim_one()[0] == free


def test_cancelling_the_workflow_cancels_its_tasks(rig: Rig) -> None:
    """D70: from outside as well, and nothing is told to one that has ended."""
    workflow = rig.start("mail", payload={"letters": 2})
    rig.call("workflow_cancel", workflow, "changed our mind")
    assert [row.status for row in rig.rows("task")] == ["Cancelled"] * 2
    assert rig.row("workflow", workflow).status == "Cancelled"


def test_the_owner_cancels_a_task(rig: Rig) -> None:
    """D70: its workflow is told, and goes on without it; a second time changes nothing."""
    workflow = rig.start("mail", payload={"letters": 2, "patience": 2})
    assert rig.call("task_cancel", 1, "lost in the post") is True
    assert rig.call("task_cancel", 1, "again") is False
    state = msgspec.json.decode(rig.row("workflow", workflow).state)
    assert state["ends"] == [[1, "cancelled", None, "lost in the post", 1, 0]]
    with pytest.raises(SenderError) as unknown:
        rig.call("task_cancel", 99, "")
    assert unknown.value.code == "not_found"


def test_removing_a_workflow_removes_its_tasks(rig: Rig) -> None:
    """A105, E14: rows of tasks, contents and attempts go with it."""
    rig.start("mail")
    postman = Postman(rig)
    task_id, token = postman.claim_one()
    postman.ok("task_complete", task_id, token, None)
    (workflow,) = rig.rows("workflow")
    from workflows.tasks.part import TaskPart

    part = rig.module.part(TaskPart)  # type: ignore[attr-defined]
    rig.run(lambda ctx: part.removed(ctx, workflow))
    assert rig.rows("task") == rig.rows("task_content") == rig.rows("task_attempt") == []


def test_one_key_is_one_task(rig: Rig) -> None:
    """B41, P5: the same again is the same, another under the same key is refused, other queues have keys of their
    own."""
    first = put(rig, "send", {"to": "ada"}, key="k")
    assert put(rig, "send", {"to": "ada"}, key="k") == first
    for name, payload in (("send", {"to": "bob"}), ("burn", {"to": "ada"})):
        with pytest.raises(SenderError) as reused:
            put(rig, name, payload, key="k")
        assert reused.value.code == "key_reused"
    assert rig.run(lambda ctx: ctx.tasks.put("parcels", "send", {"to": "ada"}, key="k")) != first
    assert len({row.key for row in rig.rows("task")}) == 1
    assert total(rig, "added") == 1
    assert len({put(rig) and rig.rows("task")[-1].key for _ in range(5)}) == 5


def test_a_task_needs_a_workflow_that_can_hear_of_it(rig: Rig) -> None:
    """F6: none for one that has ended or never was; nothing is stored."""
    workflow = rig.start("mail")
    rig.call("workflow_cancel", workflow, "")
    for workflow_id, code in ((workflow, "not_active"), (99, "unknown_workflow")):
        with pytest.raises(SenderError) as refused:
            put(rig, workflow_id=workflow_id)
        assert refused.value.code == code
    assert len(rig.rows("task")) == 1


class LateState(msgspec.Struct):
    found: int = 0


class LateStart(Payload):
    how: str


class Late(Handler[LateState]):
    """Ends in its first step and then puts a task; or cancels the task it has just put, inside its own step."""

    name = "late"

    def on_start(self, w: Workflow[LateState], payload: LateStart) -> None:
        if payload.how == "ended":
            w.complete()
            w.ctx.tasks.put(QUEUE, "send", workflow_id=w.id)
        task_id = w.ctx.tasks.put(QUEUE, "send", workflow_id=w.id)
        w.state.found = len(w.ctx.tasks.open(w.id))
        w.ctx.tasks.cancel(task_id, "at once")
        assert w.ctx.tasks.get(task_id).status == "Cancelled"

    def on_task_end(self, w: Workflow[LateState], task: TaskEnd) -> None:
        w.complete([w.state.found, task.status])


def test_inside_a_step(make_rig: MakeRig) -> None:
    """C27: an end inside the workflow's own step is told after it; a workflow that has ended puts no tasks."""
    rig = make_rig(Late)
    with pytest.raises(SenderError) as ended:
        rig.start("late", payload={"how": "ended"})
    assert ended.value.code == "not_active"
    workflow = rig.start("late", payload={"how": "cancel"})
    assert rig.row("workflow", workflow).result == '[1,"cancelled"]'


Act = Callable[[Rig, dict[str, Any]], None]


def claim(rig: Rig, notes: dict[str, Any]) -> None:
    (task,) = rig.call("task_claim", QUEUE, 1, seconds(5), sender="a" * 32)
    notes["held"] = (task["id"], task["token"])


def say(reducer: str, *words: Any) -> Act:
    return lambda rig, notes: rig.call(reducer, *notes["held"], *words, sender="a" * 32)


def wait(duration_s: float) -> Act:
    return lambda rig, notes: rig.advance(seconds(duration_s))


ACTS: list[Act] = [
    lambda rig, notes: notes.update(id=rig.start("mail", payload={"letters": 2, "patience": 2})),
    claim,
    wait(2),
    say("task_heartbeat", seconds(5)),
    wait(4),
    say("task_fail", "no answer", seconds(3)),
    claim,
    wait(5),
    wait(1),
    claim,
    say("task_complete", "first"),
    claim,
    say("task_release"),
    claim,
    say("task_complete", "second"),
]


def play(crash_after: int | None) -> list[Any]:
    """What the tables say after each act, but for tokens and keys, which are drawn anew after a restart."""
    pictures: list[Any] = []
    notes: dict[str, Any] = {}
    with Rig(WorkflowEngine((Mail,), audit=True)) as rig:
        for at, act in enumerate(ACTS):
            act(rig, notes)
            if crash_after in (at, -1):
                rig.crash()
                rig.reopen()
            assert_invariants(rig)
            tables = ("workflow", "workflow_event", "task", "task_content", "task_attempt", "task_queue_total")
            rows = [[msgspec.structs.asdict(row) for row in rig.rows(table)] for table in tables]
            timers = sorted((t.alarm, t.task_id, t.scheduled_at) for t in rig.rows("task_timer"))
            hidden = {"id", "token", "key", "attempt_id", "follows"}
            pictures.append(([[{k: v for k, v in r.items() if k not in hidden} for r in t] for t in rows], timers))
        assert rig.rows("workflow")[0].status == "Completed"
        assert rig.rows("timer_error") == []
    return pictures


def test_a_crash_after_any_step_changes_nothing() -> None:
    """A53, C27, P3: every step of claim, heartbeat, failure, lapse, release and completion, and a crash after each."""
    undisturbed = play(None)
    for crash_after in range(-1, len(ACTS)):
        assert play(crash_after) == undisturbed, f"crash after act {crash_after}"
