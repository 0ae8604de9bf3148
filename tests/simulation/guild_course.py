"""What must hold of every commit of the guild, read from its log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulation.guild_rivals import SMELTERS_MAX
from tests.workflows import history
from workflows.life import TERMINAL

if TYPE_CHECKING:
    from tests.simulation.guild import Guild

Row = dict[str, Any]
Rows = dict[Any, Row]

FOLLOWED = ("workflow", "workflow_claim", "workflow_pending", "schedule")
_COUNTED = ("fires", "failures", "skipped", "missed", "buffered")


def assert_course(guild: Guild) -> None:
    """F3, F6 and what follows, of all commits, if the log still has them."""
    log = guild.storage.log
    if log.trimmed_to:
        return
    history.assert_course(guild.engine, log)
    told = _outcomes(guild)
    rows: dict[str, Rows] = {name: {} for name in FOLLOWED}
    for seq, reducer, changes in history.commits(log, {table.number: table for table in guild.engine.store}):
        where = f"commit {seq} ({reducer})"
        schedules = dict(rows["schedule"])
        touched = {name for name, _, _ in changes}
        for name, key, row in changes:
            if name in rows:
                if row is None:
                    rows[name].pop(key, None)
                else:
                    rows[name][key] = row
        if touched & {"workflow", "workflow_claim", "workflow_pending"}:
            _rivals(where, rows)
        if "schedule" in touched:
            for key, after in rows["schedule"].items():
                if key in schedules and schedules[key] is not after:
                    _schedule(where, reducer, schedules[key], after)
        for workflow_id in told.get(seq, ()):
            status = rows["workflow"][workflow_id]["status"]
            held = any(claim["workflow_id"] == workflow_id for claim in rows["workflow_claim"].values())
            assert held or status in TERMINAL, f"{where}: duel {workflow_id} was told it has begun and holds nothing"


def _outcomes(guild: Guild) -> dict[int, list[int]]:
    """In which commits duels were answered that they hold what they wanted."""
    found: dict[int, list[int]] = {}
    for client in guild.clients:
        for label, told in client.told.items():
            if label.startswith("request ") and label.endswith(" duel"):
                for seq, answer in told:
                    if answer["outcome"] in ("started", "replaced", "refreshed", "joined"):
                        found.setdefault(seq, []).append(answer["id"])
    return found


def _rivals(where: str, rows: dict[str, Rows]) -> None:
    """REQ-7, B53: what is exclusive is held by one that lives, and no more than may are at work."""
    holders = {claim["workflow_id"]: key for key, claim in rows["workflow_claim"].items()}
    in_line = {row["workflow_id"] for row in rows["workflow_pending"].values() if row["line"] is not None}
    smelters = 0
    for key, row in rows["workflow"].items():
        if row["status"] in TERMINAL:
            assert key not in holders, f"{where}: workflow {key} has ended and holds {holders.get(key)}"
        elif key not in in_line:
            duels = row["workflow_type"] == "duel"
            assert not duels or key in holders, f"{where}: duel {key} is beside another"
            smelters += row["workflow_type"] == "smelter"
    assert smelters <= SMELTERS_MAX, f"{where}: {smelters} smelters at a time"


def _schedule(where: str, reducer: str, before: Row, after: Row) -> None:
    """B70-B73: each occurrence is run, waiting, skipped, missed or failed; what is not on the calendar is asked for."""
    where = f"{where}, schedule {before['name']}"
    passed, last = 0, after["last_at"]
    if last != before["last_at"]:
        every = before["spec"]["intervals"][0]["every"]
        due = before["next_at"]
        assert due is not None and last >= due and not (last - due) % every, f"{where}: from {due} to {last}"
        passed = (last - due) // every + 1
        assert after["next_at"] in (None, last + every), f"{where}: {after['next_at']} comes after {last}"
    counted = sum(after[name] - before[name] for name in _COUNTED)
    if reducer == "schedule_trigger":
        passed += 1
    if reducer == "schedule_fire" and not passed:
        assert counted >= 0, f"{where}: {counted} occurrences more"
    else:
        assert counted == passed, f"{where}: {passed} occurrences came, {counted} were counted"
