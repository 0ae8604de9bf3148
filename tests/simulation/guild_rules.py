"""What must hold of starts under rules, updates, commands, schedules and lists, told from answers and from tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from reactor.context import SYSTEM
from reactor.reports import ReportContext
from tests.simulation.guild_calls import COLOURS, TAGS
from workflows import LIVE
from workflows.schedules.book import ROUTINE_KEPT

if TYPE_CHECKING:
    from tests.simulation.guild import Guild
    from tests.simulation.guild_client import Told


def at_rest(guild: Guild) -> None:
    """All of it."""
    requests_start_once(guild)
    rivals_are_alone(guild)
    updates_are_done_once(guild)
    events_are_one(guild)
    commands_run_once(guild)
    schedules_add_up(guild)
    runs_are_theirs(guild)
    greetings_reach_targets(guild)
    lists_are_tables(guild)


def answers(guild: Guild, kind: str) -> Iterator[tuple[list[str], list[Told]]]:
    """The words of each label that begins with ``kind``, and what all clients were told about it."""
    labels = {label: None for client in guild.clients for label in client.told if label.startswith(f"{kind} ")}
    for label in labels:
        yield label.split(), [told for client in guild.clients for told in client.told.get(label, ())]


def requests_start_once(guild: Guild) -> None:
    """B41: a request_id gives one run, whoever sends it and however often."""
    for words, told in answers(guild, "request"):
        ids = {each.answer["id"] for each in told}
        if len(ids) != 1:
            guild.fail(f"B41: request {words[1]} was answered with workflows {sorted(ids)}")
        known = guild.table("workflow_request").get(words[1])
        if known is None or known.workflow_id not in (None, *ids):
            guild.fail(f"B41: request {words[1]} was answered with {ids}, and is stored with {known}")
    started = Counter(row.value for row in guild.table("workflow_attribute") if row.name == "request")
    for token, count in started.items():
        if count != 1:
            guild.fail(f"B41: request {token} has started {count} workflows")


def rivals_are_alone(guild: Guild) -> None:
    """REQ-7: nobody is told to be beside another that holds the same; whoever gave way has ended."""
    workflows = guild.table("workflow").rows
    for words, told in answers(guild, "request"):
        for _, answer in told:
            row = workflows.get(answer["id"])
            if row is not None and row.workflow_type != words[2]:
                guild.fail(f"REQ-7: a {words[2]} was asked for, and {row.id} is a {row.workflow_type}")
            for replaced in answer["replaced"]:
                other = workflows.get(replaced)
                if other is not None and other.status in LIVE:
                    guild.fail(f"REQ-7: workflow {replaced} gave way to {answer['id']} and is {other.status}")


def updates_are_done_once(guild: Guild) -> None:
    """D75: an update that was answered with a reply is done; all who ask get the same reply; a refused one is not."""
    done = set(guild.table("updated").rows)
    kept = {row.update_id: row for row in guild.table("workflow_update")}
    for (_, token, kind, workflow_id), told in answers(guild, "update"):
        found = [each.answer for each in told]
        replies = {a["reply"] if isinstance(a, dict) else a for a in found} - {None}
        outcomes = {a["outcome"] for a in found if isinstance(a, dict)}
        row = kept.get(token)
        if len(replies) > 1:
            guild.fail(f"D75: update {token} was answered with {replies}")
        if (row is None) != (outcomes == {"rejected"}):
            guild.fail(f"D75: update {token} was answered with {outcomes}, and is stored as {row}")
        if row is None or row.outcome == "accepted":
            if replies or token in done:
                guild.fail(f"D75: update {token} of workflow {workflow_id} is not stored as done, and is")
        elif kind == "box" and (row.outcome == "completed") != (token in done):
            guild.fail(f"D75: update {token} of workflow {workflow_id} is {row.outcome}, and done: {token in done}")
    for row in guild.table("workflow"):
        if row.workflow_type == "stall" and row.status == "Completed":
            marks = msgspec.json.decode(row.result or "[]")
            wanted = {m.update_id for m in kept.values() if m.workflow_id == row.id and m.outcome == "completed"}
            if len(set(marks)) != len(marks) or set(marks) != wanted:
                guild.fail(f"D75: stall {row.id} has {marks} of {wanted}")


def events_are_one(guild: Guild) -> None:
    """E15: an event_id is one event."""
    for words, told in answers(guild, "event"):
        ids = {each.answer["id"] for each in told}
        if len(ids) != 1 or sum(each.answer["outcome"] != "duplicate" for each in told) > 1:
            guild.fail(f"E15: event {words[1]} was published as {ids}")


def commands_run_once(guild: Guild) -> None:
    """E22-E24: a command has run, or waits, as often as it was new; what nobody heard of may have been new as well."""
    waiting = Counter(msgspec.json.decode(row.data)["token"] for row in guild.table("scheduled_command"))
    for number in range(6):
        label, token = f"command c{number}", f"c{number}"
        new = sum(t.answer["new"] for client in guild.clients for t in client.told.get(label, ()))
        unheard = sum(c.asked[label] - len(c.told.get(label, ())) - c.denied[label] for c in guild.clients)
        row = guild.table("announced").get(token)
        found = waiting[token] + (0 if row is None else row.count)
        if waiting[token] > 1 or not new <= found <= new + unheard:
            guild.fail(
                f"E22: command {token} was new {new} times ({unheard} unheard of), and ran or waits {found} times"
            )


def schedules_add_up(guild: Guild) -> None:
    """B70-B73: what is counted is what was noted, no occurrence was started twice, and none has failed by a defect."""
    noted: dict[int, Counter[str]] = {}
    fired: Counter[tuple[int, int]] = Counter()
    routine: Counter[int] = Counter()
    for event in guild.table("schedule_event"):
        noted.setdefault(event.schedule_id, Counter())[event.kind] += event.count
        routine[event.schedule_id] += event.routine
        if event.kind == "fired":
            fired[event.schedule_id, event.nominal_at] += 1
    for (schedule_id, nominal), count in fired.items():
        if count != 1:
            guild.fail(f"B70: the occurrence at {nominal} of schedule {schedule_id} was started {count} times")
    for row in guild.table("schedule"):
        if row.status == "paused" and row.reason != "why not":
            guild.fail(f"B70: schedule {row.name} is paused: {row.reason}")
        if row.max_runs is not None and row.fires + row.buffered > row.max_runs:
            guild.fail(f"B70: schedule {row.name} has {row.fires} runs of {row.max_runs}")
        if row.buffered != sum(b.schedule_id == row.id for b in guild.table("schedule_buffer")):
            guild.fail(f"B71: schedule {row.name} says that {row.buffered} wait")
        counted = (row.fires, row.skipped, row.missed, row.failures)
        found = noted[row.id]
        if routine[row.id] < ROUTINE_KEPT:
            told = (found["fired"], found["skipped"], found["missed"], found["failed"])
            if counted != told:
                guild.fail(f"B70: schedule {row.name} has counted {counted}, and noted {told}")


def runs_are_theirs(guild: Guild) -> None:
    """B73: a run and its workflow have one name, and end together; a reducer ran as often as is noted."""
    workflows = guild.table("workflow").rows
    for run in guild.table("schedule_run"):
        workflow = None if run.workflow_id is None else workflows.get(run.workflow_id)
        if workflow is not None:
            if workflow.name != run.run_name or (run.outcome == "running") != (workflow.status in LIVE):
                guild.fail(f"B73: run {run.run_name} is {run.outcome}, its workflow {workflow.name} {workflow.status}")
        elif run.outcome == "running":
            guild.fail(f"B73: run {run.run_name} is of no workflow and does not end")
    names = Counter(r.run_name for r in guild.table("schedule_run") if r.outcome != "could_not_start")
    if names and max(names.values()) > 1:
        guild.fail(f"B70: two runs of one name: {names.most_common(1)}")


def greetings_reach_targets(guild: Guild) -> None:
    """B35: a request_id of a group is one operation, and nobody is greeted of whom it does not know."""
    by_token: Counter[str] = Counter(row.token.split()[0] for row in guild.table("greeted"))
    for words, told in answers(guild, "group"):
        if len({each.answer["operation"] for each in told}) != 1:
            guild.fail(f"B35: group command {words[1]} was answered as several operations")
        operation = guild.table("workflow_group_operation").get(told[0].answer["operation"])
        if operation is None or operation.applied < by_token[words[1]]:
            guild.fail(f"B35: group command {words[1]} has greeted {by_token[words[1]]}, and says {operation}")


# -- lists -----------------------------------------------------------------------------------------


def lists_are_tables(guild: Guild) -> None:
    """B30-B34: a list finds what the tables say, page after page, and counts it, with the index and without."""
    rng = guild.rng
    attributes = [row for row in guild.table("workflow_attribute") if (row.name, row.value) == ("zone", "1")]
    zone, tag, colour = {row.workflow_id for row in attributes}, rng.choice(TAGS), rng.choice(COLOURS)
    tagged = {row.workflow_id for row in guild.table("workflow_tag") if row.tag == tag}
    choices: list[tuple[dict[str, Any], Callable[[Any], bool]]] = [
        ({"status": ["Completed", "Suspended"]}, lambda row: row.status in ("Completed", "Suspended")),
        (
            {"correlation_id": colour, "type": "box"},
            lambda row: (row.correlation_id, row.workflow_type) == (colour, "box"),
        ),
        ({"attributes": {"zone": 1}}, lambda row: row.id in zone),
        ({"tag": tag}, lambda row: row.id in tagged),
        ({"name_prefix": "counter/"}, lambda row: row.name.startswith("counter/")),
    ]
    wanted, holds = rng.choice(choices)
    rows = sorted((r for r in guild.table("workflow") if holds(r)), key=lambda row: (-row.created_at, row.id))
    found, cursor, first = [], None, None
    while first is None or cursor is not None:
        page = _ask(guild, "workflow_list", wanted, 7, 0, cursor)
        first = first or page
        found += [item["id"] for item in page["items"]]
        cursor = page["cursor"]
    if found != [row.id for row in rows] or first["total"] != len(rows):
        guild.fail(f"B30: {wanted} lists {found}, and the table has {[row.id for row in rows]}")
    counted = {group["key"]: group["count"] for group in _ask(guild, "workflow_aggregate", "status", wanted)["groups"]}
    if counted != Counter(str(row.status) for row in rows):
        guild.fail(f"B33: {wanted} counts {counted}")


def _ask(guild: Guild, name: str, *args: Any) -> Any:
    """A report, without the process that runs it."""
    engine, connection = guild.engine, guild.storage.projection_connection()
    context = ReportContext(SYSTEM, guild.clock.now(), engine.limits, frozenset(engine.trusted))
    query = engine.program.reports[name].plan(context, args)
    return query.shape([[list(row) for row in connection.execute(s.sql, s.params)] for s in query.statements])
