"""What must hold, said without the engine's help: from the tables, the disk and the clients' notebooks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from tests.simulation.client import SimClient
from tests.simulation.game import ACCOUNTS, OPENING_BALANCE

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.world import World

Rows = dict[Any, tuple[Any, ...]]


def after_start(world: World) -> None:
    """Checked on what a start has loaded, before anything runs: acknowledged ⊆ durable, seen ⊆ durable, calls whole."""
    receipts = set(world.table("receipt").rows)
    for client in world.clients:
        lost = {t for t in client.acknowledged - set(client.counts) if t not in receipts}
        if lost:
            world.fail(f"P1: acknowledged and lost: {sorted(lost)}")
        done = client.refused & receipts
        if done:
            world.fail(f"P2: refused and yet done: {sorted(done)}")
        ghosts = set(client.mirrors.get("SELECT * FROM receipt", ())) - receipts
        if ghosts:
            world.fail(f"P1: shown to a subscriber and lost: {sorted(ghosts)}")
    calls_are_whole(world)
    keyed_calls_ran_once(world)
    memory_is_fold_of_log(world)


def at_rest(world: World) -> None:
    """Checked when nothing is waiting: all of the above, and mirrors, timers and the projection besides."""
    calls_are_whole(world)
    keyed_calls_ran_once(world)
    indexes_match_rows(world)
    timers_match_table(world)
    occurrences_fired_once(world)
    projection_is_memory(world)
    for client in world.clients:
        if client.problems:
            world.fail(f"P4: {client.identity[0]}: {client.problems[0]}")
        mirrors_match(world, client)


def calls_are_whole(world: World) -> None:
    """P2: the sum of balances never changes, and every counted move left its receipt."""
    accounts = world.table("account").rows
    if not accounts:
        if world.engine.seq:
            world.fail("P2: init was not whole")
        return
    total = sum(row.balance for row in accounts.values())
    if total != ACCOUNTS * OPENING_BALANCE:
        world.fail(f"P2: the balances add up to {total}")


def keyed_calls_ran_once(world: World) -> None:
    """P5: the same key twice runs once and answers the same."""
    for row in world.table("tally").rows.values():
        if row.count != 1:
            world.fail(f"P5: the call of {row.token} ran {row.count} times")
    for client in world.clients:
        for token, answers in client.counts.items():
            if answers != {1}:
                world.fail(f"P5: {token} was answered {answers}")


# -- memory, log, projection -------------------------------------------------------------------


def memory_of(world: Machine) -> dict[str, Rows]:
    """Every table in log form."""
    found = {}
    for table in world.engine.store:
        rows = {}
        for key, row in table.rows.items():
            packed = msgspec.msgpack.decode(msgspec.msgpack.encode(table.log_row(row)))
            rows[key] = tuple(packed)
        found[table.name] = rows
    return found


def memory_is_fold_of_log(world: Machine) -> None:
    """What a start loads is what one gets by replaying the log from its beginning, if the log still has it."""
    log = world.storage.log
    if world.trimmed or log.trimmed_to:
        return
    tables = {table.number: table for table in world.engine.store}
    folded: dict[str, Rows] = {table.name: {} for table in world.engine.store}
    expected = 1
    for record in log.records_after(0):
        for commit in msgspec.msgpack.decode(record.payload):
            if commit[0] != expected:
                world.fail(f"the log has commit {commit[0]} where {expected} is due")
            expected += 1
            flat = commit[5]
            for number, content in zip(flat[::2], flat[1::2], strict=True):
                rows = folded[tables[abs(number)].name]
                if number < 0:
                    if rows.pop(content, None) is None:
                        world.fail(f"the log deletes a row of {tables[-number].name} that is not there: {content}")
                else:
                    rows[content[tables[number].schema.key_position]] = tuple(content)
    if expected - 1 != world.engine.seq:
        world.fail(f"the log ends at {expected - 1}, memory stands at {world.engine.seq}")
    _same(world, "memory and the fold of the log", memory_of(world), folded)


def projection_is_memory(world: Machine) -> None:
    """The SQL tables hold what memory holds."""
    connection = world.storage.projection_connection()
    projected: dict[str, Rows] = {}
    for table in world.engine.store:
        columns = ", ".join(f'"{name}"' for name in table.schema.column_names)
        rows = connection.execute(f'SELECT {columns} FROM "{table.name}"')
        projected[table.name] = {row[table.schema.key_position]: tuple(row) for row in rows}
    memory = {
        name: {key: tuple(_in_sql(value) for value in row) for key, row in rows.items()}
        for name, rows in memory_of(world).items()
    }
    _same(world, "memory and the projection", memory, projected)


def _in_sql(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value


def _same(world: Machine, what: str, left: dict[str, Rows], right: dict[str, Rows]) -> None:
    for name, rows in left.items():
        other = right[name]
        if rows != other:
            keys = [k for k in rows.keys() | other.keys() if rows.get(k) != other.get(k)]
            key = min(keys, key=str)
            world.fail(f"{what} differ in {name} at {key!r}: {rows.get(key)} and {other.get(key)}")


def indexes_match_rows(world: Machine) -> None:
    """Every index holds exactly the rows, under the values they have."""
    for table in world.engine.store:
        for index in table.index_list:
            held = sorted(((v if isinstance(v, tuple) else (v,)), k) for v, k in index.items())
            wanted = []
            for key, row in table.rows.items():
                values = tuple(getattr(row, c) for c in index.columns)
                if None not in values:
                    wanted.append((values, key))
            if held != sorted(wanted):
                world.fail(f"the index of {table.name} on {index.columns} does not match the rows")


# -- timers ------------------------------------------------------------------------------------


def timers_match_table(world: World) -> None:
    """The timer index is the timer table, and nothing that is due is left."""
    wanted = {("alarm", key): row.scheduled_at for key, row in world.table("alarm").rows.items() if not row.cancelled}
    if world.engine.timers.pending() != wanted:
        world.fail("P3: the timer index is not the timer table")
    for (_, key), due in wanted.items():
        if due <= _clock_value(world, world.table("alarm").rows[key].clock):
            world.fail(f"P3: alarm {key} is due and has not fired")
    if world.table("timer_error").rows:
        world.fail(f"P3: {next(iter(world.table('timer_error').rows.values())).message}")


def _clock_value(world: World, clock: str) -> int:
    return world.engine.scopes.value_at(clock, world.clock.now())


def occurrences_fired_once(world: World) -> None:
    """P3, A85, A86: each arming's occurrences fired once, in phase, none early, none missing but by its policy."""
    fired: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for row in world.table("firing"):
        if row.lateness < 0:
            world.fail(f"P3: alarm {row.alarm_id} fired {-row.lateness} µs early")
        fired[row.alarm_id, row.generation].append(row)
    for arming in world.table("arming"):
        rows = sorted(fired.pop((arming.alarm_id, arming.generation), []), key=lambda row: int(row.due))
        if arming.interval is None:
            _check_once(world, arming, rows)
        else:
            _check_interval(world, arming, rows)
    if fired:
        world.fail(f"P3: occurrences of alarms that were never armed: {list(fired)}")


def _check_once(world: World, arming: Any, rows: list[Any]) -> None:
    dues = [row.due for row in rows]
    if arming.ended and not dues:
        return
    due_now = arming.due <= _clock_value(world, arming.clock)
    if not due_now and not dues:
        return
    if arming.catch_up == "drop_if_late" and not dues:
        return
    if dues != [arming.due]:
        world.fail(f"P3: alarm {arming.alarm_id}, due once at {arming.due}, fired at {dues}")


def _check_interval(world: World, arming: Any, rows: list[Any]) -> None:
    at = arming.due - arming.interval
    for row in rows:
        step = row.due - at
        if step != (row.missed + 1) * arming.interval:
            world.fail(f"A85: alarm {arming.alarm_id} went from {at} to {row.due} and says it missed {row.missed}")
        if row.missed and arming.catch_up == "fire_all":
            world.fail(f"A86: alarm {arming.alarm_id} left out {row.missed} though it fires all")
        at = row.due
    alarm = world.table("alarm").rows.get(arming.alarm_id)
    if arming.ended or alarm is None or alarm.generation != arming.generation:
        return
    if alarm.scheduled_at - at != (alarm.missed + 1) * arming.interval:
        world.fail(f"A85: alarm {arming.alarm_id} is next due at {alarm.scheduled_at} after {at}")


# -- mirrors -----------------------------------------------------------------------------------


def _region_open(world: Machine, zone: Any) -> bool:
    region = world.table("region").rows.get(zone)
    return region is not None and bool(region.is_open)


# Of the guild too: what its clients follow.
MEANING: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "SELECT * FROM account WHERE zone = 2": ("account", lambda world, row: row.zone == 2),
    "SELECT * FROM account WHERE balance > 1000 OR zone IS NULL": (
        "account",
        lambda world, row: row.balance > 1000 or row.zone is None,
    ),
    "SELECT * FROM workflow WHERE entity_id = 2": ("workflow", lambda world, row: row.entity_id == 2),
    "SELECT * FROM taken": ("taken", lambda world, row: True),
    "SELECT * FROM task WHERE status = 'Ready'": ("task", lambda world, row: row.status == "Ready"),
    "SELECT * FROM receipt": ("receipt", lambda world, row: True),
    "SELECT * FROM firing WHERE missed = 0": ("firing", lambda world, row: row.missed == 0),
    "SELECT account.* FROM account JOIN region ON account.zone = region.id WHERE region.is_open = TRUE": (
        "account",
        lambda world, row: _region_open(world, row.zone),
    ),
}


def mirrors_match(world: Machine, client: SimClient) -> None:
    """P4: what a subscriber has after its snapshot and all deltas is what a fresh query returns."""
    if client.is_waiting:
        world.fail(f"A28: {client.identity[0]} still waits for answers at rest")
    for sql, mirror in client.mirrors.items():
        name, matches = MEANING[sql]
        rows = {key: row for key, row in world.table(name).rows.items() if matches(world, row)}
        wanted = {key: msgspec.json.decode(msgspec.json.encode(row)) for key, row in rows.items()}
        if mirror != wanted:
            keys = [k for k in mirror.keys() | wanted.keys() if mirror.get(k) != wanted.get(k)]
            key = min(keys, key=str)
            world.fail(f"P4: {client.identity[0]}, {sql}: has {mirror.get(key)}, should have {wanted.get(key)}")
