"""Random senders, pauses and crashes: each message is taken once, in the order in which it was sent."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reactor.testing import Rig
from tests.workflows.checks import assert_invariants
from tests.workflows.signals.support import Diary, Reader, pause, reading, told, wake
from workflows import WorkflowEngine
from workflows.life import Status

NAMES = st.sampled_from(["note", "other"])
STOPPED = st.sampled_from([Status.PAUSED, Status.FAULTED, Status.PENDING])


class Senders(RuleBasedStateMachine):
    """A diary, which is told everything, and a reader, which takes its notes and leaves the others."""

    @initialize()
    def begin(self) -> None:
        """One of each."""
        self.rig = reading(Rig(WorkflowEngine([Diary, Reader])))
        self.diary, self.reader = self.rig.start("diary"), self.rig.start("reader")
        self.sent: list[list[str]] = []
        self.notes: list[str] = []
        self.others: list[str] = []
        self.stopped: set[int] = set()
        self.ids: dict[tuple[int, str, str], str] = {}
        self.count = 0

    def teardown(self) -> None:
        """Whoever is stopped wakes, and then nothing is missing."""
        if hasattr(self, "rig"):
            for one in sorted(self.stopped):
                wake(self.rig, one)
            self.stopped.clear()
            assert self.told_diary() == self.sent
            assert_invariants(self.rig)
            self.rig.close()

    def told_diary(self) -> list[list[str]]:
        return [list(entry) for entry in told(self.rig, self.diary)]

    @rule(name=NAMES, signal_id=st.none() | st.sampled_from("abc"), to_reader=st.booleans())
    def send(self, name: str, signal_id: str | None, to_reader: bool) -> None:
        """Send a signal; one with an id that was used before is the same signal again."""
        one = self.reader if to_reader else self.diary
        known = None if signal_id is None else self.ids.get((one, name, signal_id))
        self.count += 1
        text = str(self.count) if known is None else known
        answer = self.rig.call("workflow_send", one, name, {"text": text}, signal_id)
        assert (answer["outcome"] == "duplicate") == (known is not None)
        if known is not None:
            return
        if signal_id is not None:
            self.ids[one, name, signal_id] = text
        if not to_reader:
            self.sent.append([name, text])
            assert answer["outcome"] == ("stored" if one in self.stopped else "delivered")
        else:
            (self.notes if name == "note" else self.others).append(text)

    @rule(status=STOPPED, reader=st.booleans())
    def stop(self, status: Status, reader: bool) -> None:
        """It can take no step for a while."""
        one = self.reader if reader else self.diary
        if one not in self.stopped:
            pause(self.rig, one, status)
            self.stopped.add(one)

    @rule(reader=st.booleans())
    def go_on(self, reader: bool) -> None:
        """It can again."""
        one = self.reader if reader else self.diary
        if one in self.stopped:
            wake(self.rig, one)
            self.stopped.remove(one)

    @rule()
    def crash(self) -> None:
        """The process is killed and started again."""
        self.rig.crash()
        self.rig.reopen()

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        """What was taken is a beginning of what was sent; what waits is the rest of it."""
        if not hasattr(self, "rig"):
            return
        seen = self.told_diary()
        assert seen == self.sent[: len(seen)]
        waiting = [m for m in self.rig.rows("workflow_message") if m.workflow_id == self.diary]
        assert [[m.name, m.payload.split('"')[3]] for m in waiting] == self.sent[len(seen) :]
        if self.diary not in self.stopped:
            assert not waiting
        taken = [text.split('"')[3] for text in told(self.rig, self.reader)]
        left = [m for m in self.rig.rows("workflow_message") if m.workflow_id == self.reader]
        notes = [m.payload.split('"')[3] for m in left if m.name == "note"]
        assert (taken + notes, [m.payload.split('"')[3] for m in left if m.name == "other"]) == (
            self.notes,
            self.others,
        )


TestSenders = Senders.TestCase
TestSenders.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
