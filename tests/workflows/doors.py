"""The doors of the engine: who may go through each, with arguments of somebody who may, and a rig with people."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from reactor.testing import Rig, RigClient
from tests.workflows.fuzzworld import STARTER, STRANGER, make_engine
from tests.workflows.hostile import call, code
from workflows.tasks.part import TaskPart

PUBLIC, STARTERS, OWNERS, WORKERS, INTERNAL = "public", "starter or owner", "owner", "worker", "internal"

VICTIM, MINE = 1, 2
"""The workflow of the starter, and another that nobody tries to harm."""

ONE = {"intervals": ["PT1H"]}
WHAT = {"workflow_type": "counter"}

DOORS: dict[str, tuple[str, list[Any]]] = {
    "workflow_start": (PUBLIC, ["counter"]),
    "workflow_start_batch": (PUBLIC, [[{"type": "counter"}]]),
    "workflow_start_with": (PUBLIC, ["counter"]),
    "workflow_can_start": (PUBLIC, ["counter"]),
    "workflow_signal": (PUBLIC, [VICTIM, "add", 1]),
    "workflow_send": (PUBLIC, [VICTIM, "add", 1]),
    "workflow_signal_or_start": (PUBLIC, ["counter", "add", 1, None, 77]),
    "workflow_update": (PUBLIC, [MINE, "deposit", 1]),
    "attempt_workflow_update": (PUBLIC, [MINE, "deposit", 1]),
    "workflow_update_result": (PUBLIC, [MINE, "deposit", "first"]),
    "workflow_query": (PUBLIC, [MINE, "coins"]),
    "workflow_find": (PUBLIC, [VICTIM]),
    "workflow_last_id": (PUBLIC, []),
    "workflow_list": (PUBLIC, []),
    "workflow_aggregate": (PUBLIC, ["status"]),
    "workflow_cancel": (STARTERS, [VICTIM, "so"]),
    "workflow_rename": (STARTERS, [VICTIM, "other"]),
    "workflow_tag": (STARTERS, [VICTIM, ["hot"]]),
    "workflow_set_attributes": (STARTERS, [VICTIM, {"zone": 3}]),
    "workflow_terminate": (OWNERS, [VICTIM, "so"]),
    "workflow_suspend": (OWNERS, [VICTIM, "so"]),
    "workflow_resume": (OWNERS, [VICTIM]),
    "workflow_retry": (OWNERS, [VICTIM]),
    "workflow_skip": (OWNERS, [VICTIM]),
    "workflow_tick": (OWNERS, []),
    "workflow_migrate": (OWNERS, ["counter"]),
    "workflow_type_retire": (OWNERS, ["counter"]),
    "workflow_type_restore": (OWNERS, ["counter"]),
    "workflow_type_status": (OWNERS, []),
    "workflow_keys_forget": (OWNERS, [1]),
    "cleanup_old_workflows": (OWNERS, [0]),
    "cleanup_by_type": (OWNERS, [0, {}]),
    "workflow_group_preview": (PUBLIC, ["signal", {"ids": [VICTIM]}]),
    "workflow_group": (PUBLIC, ["signal", {"ids": [VICTIM]}, None, None, "", "add", 1]),
    "workflow_signal_area": (PUBLIC, ["add", 1, None, [5]]),
    "workflow_group_stop": (STARTERS, [1, "so"]),
    "workflow_group_operation": (STARTERS, [1]),
    "workflow_group_results": (STARTERS, [1]),
    "event_publish": (PUBLIC, ["rain"]),
    "event_find": (PUBLIC, ["rain"]),
    "event_claim": (PUBLIC, [1, "token", "me", 1_000_000]),
    "event_claim_first": (PUBLIC, ["rain", "", "token", "me", 1_000_000]),
    "event_release": (PUBLIC, [1, "token"]),
    "event_answer": (PUBLIC, [1, "token"]),
    "event_mark": (OWNERS, [1, True]),
    "event_runnable": (OWNERS, []),
    "cleanup_old_events": (OWNERS, []),
    "task_worker_hello": (WORKERS, ["mail", 1]),
    "task_claim": (WORKERS, ["mail", 1, 1_000_000]),
    "task_heartbeat": (WORKERS, [1, "token", 1_000_000]),
    "task_complete": (WORKERS, [1, "token"]),
    "task_fail": (WORKERS, [1, "token", "so"]),
    "task_release": (WORKERS, [1, "token"]),
    "task_admission": (WORKERS, ["mail"]),
    "task_queue_configure": (OWNERS, ["mail", 5]),
    "task_cancel": (OWNERS, [1, "so"]),
    "cleanup_old_tasks": (OWNERS, [0]),
    "command_schedule": (OWNERS, ["chime", None, None, 1]),
    "command_cancel": (OWNERS, ["chime"]),
    "command_list": (OWNERS, []),
    "schedule_create": (OWNERS, ["another", ONE, WHAT]),
    "schedule_update": (OWNERS, ["every", ONE]),
    "schedule_pause": (OWNERS, ["every", "so"]),
    "schedule_resume": (OWNERS, ["every"]),
    "schedule_trigger": (OWNERS, ["every"]),
    "schedule_backfill": (OWNERS, ["every", 0, 5]),
    "schedule_delete": (OWNERS, ["every"]),
    "schedule_describe": (OWNERS, ["every"]),
    **dict.fromkeys(
        (
            "workflow_timer_fire", "workflow_retry_fire", "workflow_begin", "workflow_deadline_fire",
            "workflow_deliver", "event_deliver", "workflow_group_work", "task_timer_fire", "scheduled_command_fire",
            "schedule_fire",
        ),
        (INTERNAL, [{}]),
    ),
}  # fmt: skip
"""Who may go through each door of the engine, and arguments with which somebody who may would."""


class Peopled(NamedTuple):
    """A rig with something of everything, that belongs to the starter, and three who come to it."""

    rig: Rig
    owner: RigClient
    starter: RigClient
    stranger: RigClient


@contextlib.contextmanager
def people_about() -> Iterator[Peopled]:
    """The starter has made things; the stranger is no worker."""
    engine = make_engine()
    engine.part(TaskPart).may_work = lambda ctx, queue: ctx.sender != STRANGER
    with Rig(engine) as rig:
        people = Peopled(rig, rig.connect(), rig.connect(STARTER), rig.connect(STRANGER))
        asked: list[tuple[RigClient, str, list[Any]]] = [
            (people.starter, "workflow_start", ["counter", 5]), (people.starter, "workflow_start", ["purse"]),
            (people.starter, "workflow_start", ["waiter", None, None, {"lasting": True}]),
            (people.starter, "workflow_start", ["mail"]),
            (people.starter, "workflow_start", ["duel", 9, None, [10**9]]),
            (people.starter, "workflow_update", [2, "deposit", 1, "first"]),
            (people.starter, "event_publish", ["rain"]),
            (people.starter, "workflow_group", ["signal", {"ids": [1]}, None, "r", "", "add", 1]),
            (people.owner, "schedule_create", ["every", ONE, WHAT]),
        ]  # fmt: skip
        for client, reducer, args in asked:
            assert code(call(client, reducer, args)) == ""
        yield people
