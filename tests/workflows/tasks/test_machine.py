"""Random claims, words, time and crashes against a model of the leases: what must hold after each of them."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reactor import SenderError, milliseconds
from reactor.testing import Rig
from tests.workflows.checks import assert_invariants
from tests.workflows.tasks.checks import TERMINAL
from tests.workflows.tasks.mail import QUEUE, Mail
from workflows import WorkflowEngine

WORKERS = [f"{number:032x}" for number in (1, 2, 3)]
MS = milliseconds(1)
LEASES = st.sampled_from([200, 500, 900]).map(lambda ms: ms * MS)


class Held(NamedTuple):
    """A token as the model knows it: whose task, until when, and what was said with it last."""

    task_id: int
    until: int
    word: str | None = None


class LeaseMachine(RuleBasedStateMachine):
    """The model: for each token ever given, whether it is held now. The rest is checked on the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(WorkflowEngine((Mail,)))
        self.tokens: dict[str, Held] = {}
        self.late: set[str] = set()

    def teardown(self) -> None:
        self.rig.close()

    # -- what happens ------------------------------------------------------------------------

    @rule(letters=st.integers(1, 3), delay=st.sampled_from([0, 300]), timeout=st.sampled_from([None, 1_500]))
    def start(self, letters: int, delay: int, timeout: int | None) -> None:
        options = {"attempts_max": 2, "redeliveries_max": 1, "backoff_us": 100 * MS, "delay_us": delay * MS}
        if timeout is not None:
            options["timeout_us"] = timeout * MS
        self.rig.start("mail", payload={"letters": letters, "patience": letters, "options": options})

    @rule(worker=st.sampled_from(WORKERS), limit=st.integers(1, 3), lease_us=LEASES)
    def claim(self, worker: str, limit: int, lease_us: int) -> None:
        ready = {row.id for row in self.rig.rows("task") if row.status == "Ready"}
        claimed = self.rig.call("task_claim", QUEUE, limit, lease_us, sender=worker)
        assert len(claimed) == min(limit, len(ready))
        for task in claimed:
            assert task["id"] in ready and task["token"] not in self.tokens
            self.tokens[task["token"]] = Held(task["id"], self.rig.clock.now() + lease_us)

    def _say(self, at: int, held_word: str, reducer: str, *words: Any) -> str | None:
        """Say something with some token; checks that it counts exactly if the token is held, or was used so before."""
        if not self.tokens:
            return None
        token = list(self.tokens)[at % len(self.tokens)]
        held = self.tokens[token]
        holds = self._holds(token)
        try:
            answer = self.rig.call(reducer, held.task_id, token, *words, sender=WORKERS[0])
        except SenderError as error:
            assert error.code == "stale_lease"
            assert not holds and held.word != held_word
            if held_word in ("completed", "failed"):
                self.late.add(token)
            return None
        assert holds or held.word == held_word
        if holds and held_word != "beat":
            self.tokens[token] = held._replace(word=held_word)
        return token if answer is not None else None

    def _holds(self, token: str) -> bool:
        held = self.tokens[token]
        task = self.rig.row("task", held.task_id)
        # A deadline or the end of the workflow takes a task out of every hand.
        return held.word is None and held.until > self.rig.clock.now() and task.status not in TERMINAL

    @rule(at=st.integers(0, 50), lease_us=LEASES)
    def beat(self, at: int, lease_us: int) -> None:
        token = self._say(at, "beat", "task_heartbeat", lease_us)
        if token is not None:
            self.tokens[token] = self.tokens[token]._replace(until=self.rig.clock.now() + lease_us)

    @rule(at=st.integers(0, 50), result=st.integers(0, 9))
    def complete(self, at: int, result: int) -> None:
        self._say(at, "completed", "task_complete", result)

    @rule(at=st.integers(0, 50), after=st.sampled_from([None, 0, 250]), fatal=st.booleans())
    def fail(self, at: int, after: int | None, fatal: bool) -> None:
        self._say(at, "failed", "task_fail", "no", None if after is None else after * MS, fatal)

    @rule(at=st.integers(0, 50))
    def release(self, at: int) -> None:
        self._say(at, "released", "task_release")

    @rule(at=st.integers(0, 20))
    def cancel_workflow(self, at: int) -> None:
        live = [row.id for row in self.rig.rows("workflow") if row.status == "Suspended"]
        if live:
            self.rig.call("workflow_cancel", live[at % len(live)], "at random")

    @rule(at=st.integers(0, 20))
    def cancel_task(self, at: int) -> None:
        rows = self.rig.rows("task")
        if rows:
            row = rows[at % len(rows)]
            assert self.rig.call("task_cancel", row.id, "at random") == (row.status not in TERMINAL)

    @rule(ms=st.integers(1, 700))
    def advance(self, ms: int) -> None:
        self.rig.advance(ms * MS)

    @rule(ms=st.sampled_from([0, 0, 400]))
    def crash(self, ms: int) -> None:
        self.rig.crash()
        self.rig.advance(ms * MS)
        self.rig.reopen()

    # -- what must hold ----------------------------------------------------------------------

    @invariant()
    def the_tokens_are_the_leases(self) -> None:
        """C27, E16: a task in hand is held by a token the model takes for held, and the other way round."""
        running = {row.token for row in self.rig.rows("task_attempt") if row.outcome == "Running"}
        assert running == {token for token in self.tokens if self._holds(token)}
        assert self.rig.rows("timer_error") == []

    @invariant()
    def each_end_is_told_once(self) -> None:
        """C27, F4: what a workflow has heard is what its tasks say, each once."""
        for workflow in self.rig.rows("workflow"):
            told = msgspec.json.decode(workflow.state)["ends"]
            tasks = [row for row in self.rig.rows("task") if row.workflow_id == workflow.id]
            ended = {task.id for task in tasks if task.status in TERMINAL}
            assert len({end[0] for end in told}) == len(told)
            if workflow.status == "Suspended":
                assert {end[0] for end in told} == ended
            else:
                assert len(ended) == len(tasks)
        assert_invariants(self.rig)

    @invariant()
    def the_totals_add_up(self) -> None:
        """D57: redelivered, retried and released are what the attempts say, each counted apart."""
        if not self.rig.rows("task_queue_total"):
            return
        totals = self.rig.row("task_queue_total", QUEUE)
        tasks = {row.id: row for row in self.rig.rows("task")}
        attempts = self.rig.rows("task_attempt")
        statuses = Counter(str(row.status) for row in tasks.values())
        again = [row for row in attempts if tasks[row.task_id].attempt_id != row.id or
                 tasks[row.task_id].status in ("Ready", "Delayed", "Cancelled", "TimedOut")]  # fmt: skip
        outcomes = Counter(str(row.outcome) for row in again)
        assert totals.added == len(tasks) and totals.claimed == len(attempts)
        ends = (totals.completed, totals.failed, totals.cancelled, totals.timed_out)
        assert ends == tuple(statuses[status] for status in TERMINAL)
        again_counts = (totals.redelivered, totals.retried, totals.released)
        assert again_counts == tuple(outcomes[outcome] for outcome in ("Lapsed", "Failed", "Released"))
        assert totals.redelivered == sum(row.redeliveries for row in tasks.values())
        assert totals.ignored == len(self.late) == sum(row.late is not None for row in attempts)
        assert totals.repaired == 0


LeaseMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLeases = LeaseMachine.TestCase
