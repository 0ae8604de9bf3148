"""Whatever is done to a schedule and its server: no occurrence is lost, none comes twice.

What happened is compared with a model that looks at every minute (``naive``) and knows nothing of timers.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reactor import minutes, seconds
from reactor.testing import Rig
from tests.workflows.schedules.kit import CREATE, Work, assert_sound, crash, the, working
from tests.workflows.schedules.naive import occurrences, us
from workflows import WorkflowEngine
from workflows.schedules import CleanupPolicy
from workflows.schedules.tables import Overlap

SPAN_MAX = 240
STEPS_MAX = 12
REACH_US = minutes(SPAN_MAX * (STEPS_MAX + 1))

BEGINNINGS = [
    ("Europe/Berlin", "2024-03-30T18:00"),
    ("Europe/Berlin", "2024-10-26T18:00"),
    ("America/New_York", "2024-11-03T00:00"),
    ("America/New_York", "2024-03-10T00:00"),
    ("Australia/Lord_Howe", "2024-04-06T10:00"),
    ("Australia/Lord_Howe", "2024-10-05T10:00"),
    ("UTC", "2024-02-28T20:00"),
]
CRON = ["*/7 * * * *", "15,45 1-3 * * *", "0 */2 * * *", "30 2 * * *", "5 1,2,14 * * 0,6", "*/20 0-6 * * *"]
SPECS = st.tuples(
    st.lists(st.sampled_from(CRON), max_size=2, unique=True),
    st.lists(st.tuples(st.integers(11, 300), st.integers(0, 10)), max_size=1),
).filter(lambda spec: bool(spec[0] or spec[1]))

SPAN = st.one_of(st.integers(1, 40).map(seconds), st.integers(1, SPAN_MAX).map(minutes))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["advance", "down", "back"]), SPAN),
        st.tuples(st.sampled_from(["crash", "pause", "resume", "update"]), st.just(0)),
    ),
    max_size=STEPS_MAX,
)


class Model:
    """Which occurrences run and which are missed."""

    def __init__(self, all_of_them: list[int], window_us: int, now: int) -> None:
        self.all = all_of_them
        self.left = [at for at in all_of_them if at > now]
        self.window_us = window_us
        self.paused = False
        self.ran: list[int] = []
        self.missed: list[int] = []

    def resume(self, now: int) -> None:
        """From now on; but what has been does not come again, though the clock was set back."""
        if self.paused:
            last = max([now, *self.ran[-1:], *self.missed[-1:]])
            self.left = [at for at in self.all if at > last]
            self.paused = False

    def up_at(self, now: int) -> None:
        """The server has just come up, or the clock has jumped."""
        self._take(now, lambda at: now - at <= self.window_us)

    def up_until(self, now: int) -> None:
        """It was up all the time."""
        self._take(now, lambda at: True)

    def _take(self, now: int, runs: Any) -> None:
        while not self.paused and self.left and self.left[0] <= now:
            at = self.left.pop(0)
            (self.ran if runs(at) else self.missed).append(at)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(BEGINNINGS), SPECS, st.sampled_from([0, seconds(1), minutes(45), minutes(6000)]), STEPS)
def test_no_occurrence_is_lost_or_doubled(
    beginning: tuple[str, str], spec: Any, catch_up_us: int, steps: list[tuple[str, int]]
) -> None:
    """B70, B72, D90, F2, F3: random specs, stops, pauses and steps of the clock around changes of the clocks."""
    zone, begin = beginning
    cron, intervals = spec
    start = us(begin)
    spans = [(minutes(every), minutes(offset)) for every, offset in intervals]
    told = {"cron": cron, "time_zone": zone, "intervals": [{"every": e, "offset": o} for e, o in spans]}
    calendar = occurrences(cron, zone, spans, start - REACH_US, start + REACH_US)
    model = Model(calendar, max(catch_up_us, seconds(1)), start)
    with Rig(WorkflowEngine([Work]), start_us=start) as rig:
        rig.call(CREATE, "s", told, working(0, overlap="allow_all", catch_up_us=catch_up_us))
        for step, span in steps:
            do(rig, model, step, span)
            now = rig.clock.now()
            model.up_until(now)
            assert_sound(rig)
            row = the(rig)
            assert (row.fires, row.missed) == (len(model.ran), len(model.missed)), step
        runs = [(w.name, w.created_at) for w in rig.rows("workflow")]
        assert len({name for name, _ in runs}) == len(runs)
        nominal = {r.run_name: r.nominal_at for r in rig.rows("schedule_run")}
        assert [nominal[name] for name, _ in runs if name in nominal] == model.ran[-len(nominal) :]
        assert all(created == nominal[name] for name, created in runs if name in nominal)


def do(rig: Rig, model: Model, step: str, span: int) -> None:
    """One step, of the rig and of the model. A step of the clock back comes with a restart, as it must."""
    if step == "advance":
        rig.advance(span)
        model.up_until(rig.clock.now())
    elif step == "pause":
        rig.call("schedule_pause", "s", "why not")
        model.paused = True
    elif step == "resume":
        rig.call("schedule_resume", "s")
        model.resume(rig.clock.now())
    elif step == "update":
        rig.call("schedule_update", "s", None, {"description": str(rig.clock.now())})
    else:
        rig.crash()
        if step == "back":
            rig.clock._now -= span
        else:
            rig.advance(span)
        rig.reopen()
        model.up_at(rig.clock.now())


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(list(Overlap)),
    st.integers(1, 40),
    st.one_of(st.none(), st.integers(1, 12)),
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["advance", "down"]), st.integers(1, 50 * 60)),
            st.tuples(st.sampled_from(["crash", "trigger", "finish", "policy"]), st.integers(0, 5)),
        ),
        max_size=14,
    ),
)
def test_every_occurrence_is_accounted_for(
    overlap: Overlap, takes_min: int, max_runs: int | None, steps: list[tuple[str, int]]
) -> None:
    """B71, D91-D94, F1: run, waiting, skipped or missed; one run at a time where the policy says so."""
    start = us("2024-01-01T00:00")
    with Rig(WorkflowEngine([Work], cleanup=CleanupPolicy()), start_us=start) as rig:
        settings = working(minutes(takes_min), overlap=overlap, max_runs=max_runs)
        rig.call(CREATE, "s", {"cron": ["*/10 * * * *"]}, settings)
        alone, asked = overlap is not Overlap.ALLOW_ALL, 0
        for step, amount in steps:
            if the(rig).status == "deleted":
                break
            alone = alone and not (step == "policy" and list(Overlap)[amount] is Overlap.ALLOW_ALL)
            asked += meddle(rig, step, amount)
            assert_sound(rig)
            row = the(rig)
            live = [r for r in rig.rows("schedule_run") if r.schedule_id == row.id and r.outcome == "running"]
            assert not alone or len(live) <= 1
            assert max_runs is None or row.fires + row.buffered <= max_runs
            if row.status == "active" and row.next_at is not None:
                due = (row.next_at - start) // minutes(10) - 1
                assert row.fires + row.buffered + row.skipped + row.missed + row.failures == due + asked
        names = [w.name for w in rig.rows("workflow")]
        assert len(set(names)) == len(names)


def meddle(rig: Rig, step: str, amount: int) -> int:
    """Do one thing; returns how many runs were asked for beside the calendar."""
    if step == "advance":
        rig.advance(seconds(amount))
    elif step == "down":
        crash(rig, seconds(amount))
    elif step == "crash":
        crash(rig)
    elif step == "trigger":
        rig.call("schedule_trigger", "s")
        return 1
    elif step == "finish":
        for run in rig.rows("schedule_run"):
            if run.outcome == "running" and run.workflow_id is not None:
                rig.call("workflow_signal", run.workflow_id, "finish")
                break
    elif step == "policy":
        rig.call("schedule_update", "s", None, {"overlap": list(Overlap)[amount]})
    return 0
