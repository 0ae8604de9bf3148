"""What must hold of the guild, said from the tables and from what clients were told."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from reactor.storage.backfill import verify_index
from tests.simulation import guild_rules, properties
from tests.simulation.guild_calls import CLEANED
from tests.simulation.guild_game import ONCE
from tests.workflows.checks import assert_invariants
from tests.workflows.groups.conftest import assert_operations
from tests.workflows.scripts.checks import assert_scripts
from workflows import LIVE
from workflows.tables import WORKFLOW_SCHEMA
from workflows.visibility.index import INDEX

if TYPE_CHECKING:
    from tests.simulation.guild import Guild


def promises_kept(guild: Guild) -> None:
    """P1, B44: an item whose signal was answered is taken, or waits with its workflow, or that has ended."""
    taken = set(guild.table("taken").rows)
    waiting = "\n".join(
        str(text)
        for name, column in (("workflow_message", "payload"), ("workflow_parked", "argument"))
        for row in guild.table(name)
        if (text := getattr(row, column)) is not None
    )
    workflows = guild.table("workflow").rows
    # An operator may have skipped what it failed at.
    skipped = {
        row.workflow_id for row in guild.table("command_log") if row.verb == "skip" and row.outcome == "accepted"
    }
    for client in guild.clients:
        for token in client.accepted.keys() - taken:
            row = workflows.get(client.accepted[token])
            if row is None:
                guild.fail(f"P1: workflow {client.accepted[token]} was started, and is lost")
            elif row.status in LIVE and row.id not in skipped and f'"{token}"' not in waiting:
                guild.fail(f"B44: item {token} was accepted by workflow {row.id} and is nowhere")
        for workflow_id, kind in client.started:
            if workflow_id not in workflows and kind not in CLEANED:
                guild.fail(f"P1: {kind} {workflow_id} was started, and is lost")


def effects_happened_once(guild: Guild) -> None:
    """B45, C27, D75: no item was taken twice, no result delivered twice, no update done and no group greeted twice."""
    for name in ONCE:
        for row in guild.table(name):
            if row.count != 1:
                guild.fail(f"B45, C27: {row.token} was {name} {row.count} times")


def at_rest(guild: Guild) -> None:
    """Everything, when nothing waits and nothing is due."""
    promises_kept(guild)
    effects_happened_once(guild)
    leases_decide(guild)
    stock_adds_up(guild)
    try:
        for check in (assert_invariants, assert_scripts, assert_operations):
            check(_View(guild))  # type: ignore[arg-type]
    except AssertionError as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        guild.fail(f"{where.name}: {str(error).splitlines()[0] if str(error) else where.line}")
    guild_rules.at_rest(guild)
    timers_match_tables(guild)
    properties.indexes_match_rows(guild)
    properties.projection_is_memory(guild)
    lists_are_whole(guild)
    for client in guild.clients:
        if client.problems:
            guild.fail(f"P4: {client.identity[0]}: {client.problems[0]}")
        properties.mirrors_match(guild, client)


def lists_are_whole(guild: Guild) -> None:
    """F4, F8, B04, B09: an index that is trusted covers every row and no other, and one that was filled is trusted."""
    found = verify_index(guild.storage.projection_connection(), INDEX, WORKFLOW_SCHEMA, deep=True)
    if found.is_trusted != (guild.engine.trusted == {INDEX}):
        guild.fail(f"B04: the mark says {found.is_trusted}, and the engine does not")
    if found.overstates:
        guild.fail(f"F8: lists would be short: {found.gaps}, first {found.samples[:3]}")
    if guild.is_marked is not None and guild.is_marked != found.is_trusted:
        guild.fail(f"B04: the index was {'filled' if guild.is_marked else 'dropped'}, and its mark says otherwise")


def leases_decide(guild: Guild) -> None:
    """E16, C27: a completion that was accepted came with the newest lease there was of its task."""
    claims = [claim for client in guild.clients for claim in client.claims]
    for client in guild.clients:
        for done in client.completed:
            newest = max((c for c in claims if c.task_id == done.task_id and c.seq <= done.seq), default=None)
            if newest is not None and newest.token != done.token:
                guild.fail(f"C27: task {done.task_id} was completed in commit {done.seq} with a lease that had lapsed")


def stock_adds_up(guild: Guild) -> None:
    """C26, E33: what trips hold is what their records say they hold."""
    held = 0
    for pointer in guild.table("execution_pointer"):
        if pointer.kind == "step" and pointer.step_name.startswith("hold ") and pointer.status == "Complete":
            held += int(pointer.step_name.removeprefix("hold "))
        elif pointer.step_name == "use" and pointer.status == "Complete":
            held -= 7
    found = guild.table("stock").rows[1].held
    if held != found:
        guild.fail(f"C26: the stock says {found} are held, and the records say {held}")


def timers_match_tables(guild: Guild) -> None:
    """P3: the timer index is what the scheduled tables say, and nothing that is due is left."""
    wanted, now = {}, guild.clock.now()
    for table in guild.engine.store:
        if table.schema.scheduled is None:
            continue
        for key, row in table.rows.items():
            if not getattr(row, "cancelled", False):
                wanted[table.name, key] = row.scheduled_at
                clock = getattr(row, "clock", "wall")
                if row.scheduled_at <= guild.engine.scopes.value_at(clock, now):
                    guild.fail(f"P3: row {key} of {table.name} is due and has not fired")
    if guild.engine.timers.pending() != wanted:
        guild.fail("P3: the timer index is not the scheduled tables")
    for error in guild.table("timer_error"):
        guild.fail(f"P3: {error.message}")


class _View:
    """The tables of a run, in the form the checks of other tests ask for."""

    def __init__(self, guild: Guild) -> None:
        self.engine = guild.engine
        self.clock = guild.clock
        self.module = guild.module

    def rows(self, name: str) -> list[Any]:
        """The rows of a table, by key."""
        return [row for _, row in sorted(self.engine.store.tables[name].rows.items())]

    def row(self, name: str, key: Any) -> Any:
        """One row, or None."""
        return self.engine.store.tables[name].get(key)

    def context(self) -> Any:
        """A context that is only read from."""
        return self.engine.look()
