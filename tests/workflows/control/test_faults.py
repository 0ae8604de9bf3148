"""What becomes of a workflow whose step fails: tried again in order, parked, or ended as its type wants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reactor import Refusal, SenderError, minutes, seconds
from reactor.limits import DEFAULT_LIMITS
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from tests.workflows.control.conftest import kinds, seen
from tests.workflows.control.samples import TYPES, Fragile, broken
from workflows import NoPayload, Status, WorkflowEngine
from workflows.messages import forget, put_signal
from workflows.policy import ErrorPolicy


def say(rig: Rig, workflow_id: int, word: str) -> Any:
    """Tell a workflow a word."""
    return rig.call("workflow_signal", workflow_id, "say", {"word": word})


def errors(rig: Rig, workflow_id: int | None = None) -> list[Any]:
    """The rows of its failures."""
    return [row for row in rig.rows("execution_error") if workflow_id in (None, row.workflow_id)]


def test_without_a_policy_a_failure_ends_it_at_once(rig: Rig) -> None:
    """A44, E25: as ever, with a row that tells when, whose, what and where."""
    broken["boom"] = -1
    workflow_id = rig.start("fragile")
    assert say(rig, workflow_id, "boom") == "Failed"
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.error_message, row.failure_category) == (
        Status.FAILED, "KeyError: 'a defect'", "application",
    )  # fmt: skip
    (error,) = errors(rig)
    assert (error.workflow_id, error.at, error.cause, error.attempt, error.follows, error.delay_us) == (
        workflow_id, rig.clock.now(), "signal:say", 1, None, None,
    )  # fmt: skip
    assert (error.category, error.message, error.pointer_id) == ("application", "KeyError: 'a defect'", None)
    assert "raise ERRORS[w.state.error]()" in error.traceback


@pytest.mark.parametrize("what", ["signal", "timer", "child", "start"])
def test_the_same_occurrence_is_tried_again(rig: Rig, what: str) -> None:
    """REQ-11, E32, D100: after a second, after three more, with a crash between; then it has happened once."""
    word = {"signal": "boom", "timer": "wake", "child": "child Cancelled", "start": "start"}[what]
    broken[word] = 2
    given = {"timers": {"wake": seconds(1) if what == "timer" else minutes(10)}, "child": what == "child"}
    workflow_id = rig.start("stubborn", payload=given)
    begin = rig.clock.now()
    if what == "signal":
        assert say(rig, workflow_id, word) == "Faulted"
    elif what == "child":
        (child,) = [row.id for row in rig.rows("workflow") if row.parent_id == workflow_id]
        rig.call("workflow_cancel", child, "x")
    elif what == "timer":
        rig.advance(seconds(1))
        begin += seconds(1)
    assert rig.row("workflow", workflow_id).status is Status.FAULTED
    (parked,) = rig.rows("workflow_parked")
    assert (parked.attempt, parked.cancelled, parked.scheduled_at) == (1, False, begin + seconds(1))
    rig.advance(seconds(1))
    rig.crash()
    rig.reopen()
    (parked,) = rig.rows("workflow_parked")
    assert (parked.attempt, parked.cancelled, parked.scheduled_at) == (2, False, begin + seconds(4))
    rig.advance(seconds(2))
    assert word not in seen_or_none(rig, workflow_id)
    rig.advance(seconds(1))
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.error_message, row.failure_category) == (Status.SUSPENDED, None, None)
    assert seen(rig, workflow_id).count(word) == 1
    assert rig.rows("workflow_parked") == []
    first, second = errors(rig, workflow_id)
    assert (first.attempt, first.follows, first.delay_us) == (1, None, seconds(1))
    assert (second.attempt, second.follows, second.delay_us) == (2, first.id, seconds(3))


def seen_or_none(rig: Rig, workflow_id: int) -> list[str]:
    """What it noted; nothing for one that has not begun."""
    return [] if rig.row("workflow", workflow_id).state == "null" else seen(rig, workflow_id)


def test_a_timer_is_tried_again_at_its_own_time(rig: Rig) -> None:
    """F3, A85: the step sees the instant the timer was due, however often it was tried."""
    broken["wake"] = 2
    workflow_id = rig.start("stubborn", payload={"timers": {"wake": seconds(1)}})
    due = rig.clock.now() + seconds(1)
    rig.advance(seconds(10))
    assert f'"at":[[{due},{due},{due + seconds(4)}]]' in rig.row("workflow", workflow_id).state
    assert rig.rows("workflow_timer") == []


def test_what_comes_later_waits_its_turn(rig: Rig) -> None:
    """REQ-11: timers that are due and signals that are sent meanwhile come after it, in order."""
    broken["first"] = 2
    workflow_id = rig.start("stubborn", payload={"timers": {"second": seconds(2), "fourth": minutes(1)}})
    say(rig, workflow_id, "first")
    say(rig, workflow_id, "third")
    rig.advance(seconds(3))
    assert seen(rig, workflow_id) == ["start"]
    rig.advance(seconds(1))
    assert seen(rig, workflow_id)[:2] == ["start", "first"]
    assert sorted(seen(rig, workflow_id)[2:]) == ["second", "third"]
    rig.advance(minutes(1))
    assert seen(rig, workflow_id)[-1] == "fourth"


def test_an_interval_goes_on_in_phase(rig: Rig) -> None:
    """A85, F3: the occurrence that failed comes first, those it held up follow, none is lost or doubled."""
    broken["tick"] = 3
    workflow_id = rig.start("ticking")
    begin = rig.clock.now()
    rig.advance(seconds(7))
    assert rig.row("workflow", workflow_id).status is Status.SUSPENDED
    rig.advance(seconds(3))
    at = [begin + seconds(n) for n in (2, 4, 6, 8, 10)]
    assert [f"[{a},{a}," in rig.row("workflow", workflow_id).state for a in at] == [True] * 5
    assert seen(rig, workflow_id) == ["tick"] * 5


def test_retries_used_up_leave_it_to_somebody(rig: Rig) -> None:
    """E32, REQ-11: parked with its traceback in a row; nothing is lost, nothing goes on by itself."""
    broken["boom"] = -1
    workflow_id = rig.start("stubborn", payload={"timers": {"wake": seconds(30)}})
    say(rig, workflow_id, "boom")
    rig.advance(minutes(10))
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.error_message) == (Status.FAULTED, "KeyError: 'a defect'")
    assert [e.attempt for e in errors(rig)] == [1, 2, 3]
    assert [e.delay_us for e in errors(rig)] == [seconds(1), seconds(3), None]
    (view,) = rig.sql("SELECT id, failed_in, failed_name, attempt, retry_at, failure_category FROM faulted_workflows")
    assert view == [workflow_id, "signal", "say", 3, None, "application"]
    assert "raise ERRORS" in rig.sql("SELECT traceback FROM faulted_workflows")[0][0]
    assert rig.sql("SELECT * FROM stuck_workflows") == []
    rig.crash()
    rig.advance(minutes(10))
    rig.reopen()
    assert rig.row("workflow", workflow_id) == row
    assert seen(rig, workflow_id) == ["start"]
    assert [kind for kind, *_ in kinds(rig, workflow_id)] == ["started", "faulted", "faulted", "faulted"]


def test_an_operator_lets_it_try_once_more(rig: Rig) -> None:
    """REQ-11, E32: it fails again and is parked again, counting on; once mended it goes on with all that waited."""
    broken["boom"] = 4
    workflow_id = rig.start("stubborn", payload={"timers": {"wake": seconds(30)}})
    say(rig, workflow_id, "boom")
    rig.advance(minutes(1))
    assert rig.call("workflow_retry", workflow_id) is True
    row = rig.row("workflow", workflow_id)
    assert row.status is Status.FAULTED
    assert [e.attempt for e in errors(rig)] == [1, 2, 3, 4]
    rig.crash()
    rig.reopen()
    assert rig.call("workflow_retry", workflow_id, "mended") is True
    assert seen(rig, workflow_id) == ["start", "boom", "wake"]
    assert rig.row("workflow", workflow_id).status is Status.SUSPENDED


def test_an_operator_need_not_wait_for_the_next_try(rig: Rig) -> None:
    """REQ-11: what is due later by itself is tried now; it does not happen twice."""
    broken["boom"] = 1
    workflow_id = rig.start("stubborn")
    say(rig, workflow_id, "boom")
    rig.call("workflow_retry", workflow_id)
    assert seen(rig, workflow_id) == ["start", "boom"]
    rig.advance(minutes(1))
    assert seen(rig, workflow_id) == ["start", "boom"]


@pytest.mark.parametrize("what", ["signal", "timer", "interval"])
def test_an_operator_gives_it_up(rig: Rig, what: str) -> None:
    """REQ-11: what failed never happens; the workflow waits for what comes next, with what was kept for it."""
    if what == "interval":
        broken["tick"] = 5
        workflow_id = rig.start("ticking")
        begin = rig.clock.now()
        rig.advance(seconds(6))
        assert rig.call("workflow_skip", workflow_id, "not this one") is True
        assert [f"[{begin + seconds(n)}," in rig.row("workflow", workflow_id).state for n in (2, 4, 6)] == [
            False, True, True,
        ]  # fmt: skip
        return
    word = "boom" if what == "signal" else "wake"
    broken[word] = -1
    workflow_id = rig.start("parked", payload={"timers": {"wake": seconds(1), "next": minutes(1)}})
    if what == "signal":
        say(rig, workflow_id, word)
        broken.clear()
    rig.advance(seconds(2))
    say(rig, workflow_id, "kept")
    assert rig.call("workflow_skip", workflow_id) is True
    assert sorted(seen(rig, workflow_id)) == sorted(["start", "kept", *(["wake"] if what == "signal" else [])])
    rig.advance(minutes(1))
    assert seen(rig, workflow_id)[-1] == "next"
    assert "occurrence_skipped" in [kind for kind, *_ in kinds(rig, workflow_id)]


@pytest.mark.parametrize("word", ["wake", "start"])
def test_giving_up_what_alone_would_wake_it_is_refused(rig: Rig, word: str) -> None:
    """F1: ``stranded``; it stays parked as it was."""
    broken[word] = -1
    workflow_id = rig.start("brittle", payload={"timers": {"wake": seconds(1)}})
    rig.advance(seconds(1))
    before = (rig.row("workflow", workflow_id), rig.rows("workflow_timer"), rig.rows("workflow_parked"))
    assert before[0].status is Status.FAULTED
    # A message that it does not take wakes nobody.
    rig.run(lambda ctx: put_signal(ctx, workflow_id, "say", "{}") and None)
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_skip", workflow_id)
    assert caught.value.code == "stranded"
    rig.run(lambda ctx: forget(ctx, workflow_id))
    assert (rig.row("workflow", workflow_id), rig.rows("workflow_timer"), rig.rows("workflow_parked")) == before
    broken.clear()
    rig.call("workflow_retry", workflow_id)
    rig.advance(seconds(1))
    assert seen(rig, workflow_id) == ["start", "wake"]


@pytest.mark.parametrize(("word", "result"), [("boom", '{"seen":["start","cancel"]}'), ("start", None)])
def test_a_faulted_workflow_can_be_cancelled(rig: Rig, word: str, result: str | None) -> None:
    """REQ-11: it cleans up if it has ever begun; nothing of it is left behind."""
    broken[word] = 1
    workflow_id = rig.start("parked", payload={"timers": {"wake": seconds(1)}})
    if word == "boom":
        say(rig, workflow_id, word)
    assert rig.row("workflow", workflow_id).status is Status.FAULTED
    rig.call("workflow_cancel", workflow_id, "no use")
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.result, row.failure_category) == (Status.CANCELLED, result, "cancelled")
    assert rig.rows("workflow_parked") == rig.rows("workflow_timer") == []


@pytest.mark.parametrize(("kind", "status"), [("hopeful", Status.FAILED), ("doomed", Status.TERMINATED)])
def test_what_comes_when_all_is_used_up(rig: Rig, kind: str, status: Status) -> None:
    """E32: as the policy says, with the category of what went wrong."""
    broken["boom"] = -1
    workflow_id = rig.start(kind)
    say(rig, workflow_id, "boom")
    rig.advance(minutes(1))
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.failure_category) == (status, "application")
    assert [e.attempt for e in errors(rig)] == ([1, 2] if kind == "hopeful" else [1])


def test_a_verdict_of_the_handler_stops_the_retries(rig: Rig) -> None:
    """C25: ``Fatal`` means never, ``RetryAfter`` means then."""
    broken["boom"] = -1
    fatal = rig.start("stubborn", payload={"error": "fatal"})
    later = rig.start("stubborn", payload={"error": "later"})
    for workflow_id in (fatal, later):
        say(rig, workflow_id, "boom")
    assert [e.delay_us for e in errors(rig)] == [None, seconds(7)]
    assert [row.cancelled for row in rig.rows("workflow_parked")] == [True, False]
    broken.clear()
    rig.advance(seconds(6))
    assert seen(rig, later) == ["start"]
    rig.advance(seconds(1))
    assert seen(rig, later) == ["start", "boom"]
    assert rig.row("workflow", fatal).status is Status.FAULTED


def test_a_refusal_of_the_handler_goes_to_the_sender(rig: Rig) -> None:
    """A48: what a caller did wrong is no failure of the workflow, whatever its policy."""
    broken["boom"] = -1
    workflow_id = rig.start("stubborn", payload={"error": "sender"})
    with pytest.raises(SenderError, match="not now"):
        say(rig, workflow_id, "boom")
    assert rig.row("workflow", workflow_id).status is Status.SUSPENDED
    assert errors(rig) == []


@pytest.mark.parametrize("category", ["application", "activity", "child", "internal", "task_failure"])
def test_what_a_step_raises_has_a_category(rig: Rig, category: str) -> None:
    """D99: its class says which; a budget that ran out is the step's, an impossible state the engine's."""
    broken["wake"] = -1
    workflow_id = rig.start("fragile", payload={"error": category, "timers": {"wake": seconds(1)}})
    rig.advance(seconds(1))
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.failure_category) == (Status.FAILED, category)
    assert [e.category for e in errors(rig)] == [category]


def test_one_poisoned_workflow_among_a_thousand(make_rig: MakeRig) -> None:
    """REQ-11, A44, F7: the others run as if it were not there: same rows, same times."""

    def fill(poison: bool) -> list[Any]:
        rig = make_rig(*TYPES)
        broken["boom"] = -1 if poison else 0

        def start(ctx: Any) -> None:
            for i in range(1_000):
                word = "boom" if i == 500 else "wake"
                ctx.workflows.start("stubborn", payload={"timers": {word: seconds(1) + i % 7}})

        rig.run(start)
        rig.advance(minutes(1))
        assert (rig.row("workflow", 501).status is Status.FAULTED) is poison
        return [row for row in rig.rows("workflow") if row.id != 501]

    assert fill(poison=True) == fill(poison=False)


@pytest.mark.parametrize(
    "given",
    [{"attempts": 0}, {"first_delay_us": -1}, {"factor": 0.5}, {"first_delay_us": 10, "max_delay_us": 1}],
)
def test_a_policy_that_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    """E32: where it is written."""
    with pytest.raises(Refusal):
        ErrorPolicy(**given)


def test_a_signal_cannot_be_called_error() -> None:
    """``on_error`` is the policy."""

    class Wrong(Fragile):
        name = "wrong"
        signals = {"error": NoPayload}

    with pytest.raises(Refusal, match="on_error has another meaning"):
        WorkflowEngine([Wrong])


@pytest.mark.parametrize("seed", range(6))
def test_a_crash_anywhere_loses_and_doubles_nothing(make_rig: MakeRig, seed: int) -> None:
    """A53, REQ-11: the same words in the same order as without the crash, whenever it comes."""

    def play(crash_after: int | None) -> Any:
        rig = make_rig(*TYPES)
        broken.update({"a": 2, "b": 1, "wake": 1})
        workflow_id = rig.start("stubborn", payload={"timers": {"wake": seconds(2), "end": seconds(40)}})
        acts: list[Any] = [
            lambda: say(rig, workflow_id, "a"),
            lambda: rig.call("workflow_suspend", workflow_id, "x"),
            lambda: say(rig, workflow_id, "b"),
            lambda: rig.advance(seconds(5)),
            lambda: rig.call("workflow_resume", workflow_id),
            lambda: rig.call("workflow_retry", workflow_id),
            lambda: rig.advance(seconds(60)),
        ]
        for number, act in enumerate(acts):
            act()
            if number == crash_after:
                rig.crash()
                rig.reopen()
        return seen(rig, workflow_id), [e.attempt for e in errors(rig)]

    assert play(seed) == play(None)


def test_structural_limits_are_not_tried_again(make_rig: MakeRig) -> None:
    """D98: whatever the policy, the run fails with its own category."""
    rig = make_rig(*TYPES, limits=replace(DEFAULT_LIMITS, workflow_timers_max=3))
    workflow_id = rig.start("stubborn", payload={"timers": {str(i): minutes(1) for i in range(4)}})
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.failure_category) == (Status.FAILED, "structural_limit")
    assert errors(rig)[0].delay_us is None
