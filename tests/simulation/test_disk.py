"""The simulated disk itself: it forgets what was not synced, and real SQLite on it keeps its promises."""

from __future__ import annotations

from random import Random

import pytest

from reactor.storage.connection import ASIDE, DiskError, checkpoint, configure
from tests.simulation.disk import Kind, Operation, SimulatedDisk

SEEDS = 400
FAULTS: tuple[tuple[Operation, Kind], ...] = (("write", "io"), ("write", "full"), ("sync", "io"))


def append(disk: SimulatedDisk, synchronous: str, rng: Random, *, anew: bool = True) -> tuple[int, int]:
    """Continue a table of numbers until an error or a whim ends it: ``(found, acknowledged)``.

    ``anew``: first write anew what the WAL holds, as a start does.
    """
    if anew:
        disk.write_anew("log.db")
    connection = disk.connect("log.db")
    configure(connection, "FULL", 100)
    connection.execute("CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, body BLOB)")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    rows = [seq for (seq,) in connection.execute("SELECT seq FROM log ORDER BY seq")]
    assert rows == list(range(1, len(rows) + 1)), "a hole or a half-written transaction"
    assert connection.execute("PRAGMA integrity_check") == [("ok",)]
    found = acknowledged = len(rows)
    for _ in range(rng.randrange(1, 15)):
        size = rng.randrange(1, 4)
        new = [(acknowledged + i + 1, bytes(rng.randrange(6_000))) for i in range(size)]
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO log VALUES (?, ?)", new)
        connection.execute("COMMIT")
        acknowledged += size
        if rng.random() < 0.15:
            checkpoint(connection)
    if rng.random() < 0.1:
        connection.close()
    return found, acknowledged


def loses_something(seed: int, synchronous: str) -> bool:
    """Four lives with power cuts between them; whether an acknowledged number was ever missing."""
    rng = Random(seed)
    disk = SimulatedDisk(rng.choice((512, 4096)), powersafe=rng.random() < 0.5)
    before = 0
    for _ in range(4):
        found, acknowledged = append(disk, synchronous, rng)
        if found < before:
            return True
        before = acknowledged
        disk.crash(rng)
    return False


def test_full_loses_nothing() -> None:
    """P1: what a synced commit acknowledged is there after any power cut."""
    assert [seed for seed in range(SEEDS) if loses_something(seed, "FULL")] == []


def test_normal_loses_acknowledged_commits() -> None:
    """The negative control: a disk that kept everything would not find this."""
    lost = sum(loses_something(seed, "NORMAL") for seed in range(SEEDS))
    assert lost > SEEDS / 2


def under_errors(seed: int, *, anew: bool = True) -> tuple[bool, str]:
    """Lives with injected errors, power cuts and kills between them: ``(lost something, error met first)``."""
    rng = Random(seed)
    disk = SimulatedDisk(rng.choice((512, 4096)), powersafe=rng.random() < 0.5)
    before, met = 0, ""
    for _ in range(5):
        operation, kind = rng.choice(FAULTS)
        disk.fail(operation, kind, rng.randrange(25 if operation == "sync" else 120), rng.randrange(1, 4))
        try:
            found, acknowledged = append(disk, "FULL", rng, anew=anew)
            if found < before:
                return True, met
            before = acknowledged
        except DiskError as error:
            met = met or error.kind
        if rng.random() < 0.4:
            disk.kill()
            disk.heal()
        else:
            disk.crash(rng)
    return False, met


def test_full_loses_nothing_under_errors() -> None:
    """P1, P6: also with EIO and ENOSPC at any write and EIO at any sync."""
    outcomes = [under_errors(seed) for seed in range(SEEDS)]
    assert [seed for seed, (lost, _) in enumerate(outcomes) if lost] == []
    met = [kind for _, kind in outcomes]
    assert min(met.count("io"), met.count("full")) > SEEDS / 20


def test_going_on_after_a_failed_sync_loses() -> None:
    """The negative control: pages that look stored and are not are the reason for writing them anew."""
    assert any(under_errors(seed, anew=False)[0] for seed in range(SEEDS))


# -- the model -----------------------------------------------------------------------------------


def filled(disk: SimulatedDisk) -> None:
    """A table with one synced row and one that was not synced."""
    connection = disk.connect("a.db")
    configure(connection, "FULL", 100)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (1)")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("INSERT INTO t VALUES (2)")


def found(disk: SimulatedDisk) -> list[int]:
    """What the table holds."""
    return [x for (x,) in disk.connect("a.db").execute("SELECT x FROM t")]


def test_a_kill_keeps_and_a_crash_may_forget() -> None:
    """The system's cache outlives a process, not a power cut."""
    disk = SimulatedDisk()
    filled(disk)
    disk.kill()
    assert found(disk) == [1, 2]
    outcomes = set()
    for seed in range(50):
        disk = SimulatedDisk()
        filled(disk)
        disk.crash(Random(seed))
        outcomes.add(tuple(found(disk)))
    assert outcomes == {(1,), (1, 2)}


def test_a_seed_repeats_a_crash() -> None:
    """The same seed leaves the same bytes."""

    def bytes_after(seed: int) -> dict[str, bytes]:
        disk = SimulatedDisk()
        connection = disk.connect("a.db")
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", ((bytes(i),) for i in range(500)))
        disk.crash(Random(seed))
        return {path: bytes(file.content) for path, file in disk.files.items()}

    assert [bytes_after(seed) for seed in range(10)] == [bytes_after(seed) for seed in range(10)]
    assert len({str(bytes_after(seed)) for seed in range(10)}) > 3


def test_a_failed_sync_is_not_made_good_by_a_later_one() -> None:
    """As on Linux: the pages of the failed sync are forgotten although the next sync succeeds."""
    lost = 0
    for seed in range(40):
        disk = SimulatedDisk()
        filled(disk)
        file = disk.files["a.db-wal"]
        connection = disk._connections[0]
        connection.execute("PRAGMA synchronous=FULL")
        disk.fail("sync", "io", after=0)
        with pytest.raises(DiskError) as error:
            connection.execute("INSERT INTO t VALUES (3)")
        assert error.value.kind == "io"
        file.sync()
        before = bytes(file.content)
        disk.crash(Random(seed))
        lost += bytes(disk.files["a.db-wal"].content) != before
    assert lost > 5


def test_a_full_disk_can_still_be_overwritten() -> None:
    """Only growing needs space."""
    disk = SimulatedDisk()
    filled(disk)
    connection = disk._connections[0]
    disk.full = True
    with pytest.raises(DiskError) as error:
        connection.execute("INSERT INTO t VALUES (zeroblob(50000))")
    assert error.value.kind == "full"
    disk.full = False
    checkpoint(connection)
    disk.full = True
    connection.execute("INSERT INTO t VALUES (3)")
    disk.kill()
    disk.heal()
    assert found(disk) == [1, 2, 3]


def test_one_connection_at_a_time() -> None:
    """A second one on the same file is refused, as the storage promises never to open it."""
    disk = SimulatedDisk()
    filled(disk)
    with pytest.raises(DiskError):
        found(disk)


def test_set_aside_and_flip() -> None:
    """The other means of a test: a file out of the way, a damaged byte."""
    disk = SimulatedDisk()
    filled(disk)
    disk._connections[0].close()
    disk.flip("a.db", 2)
    with pytest.raises(DiskError) as error:
        found(disk)
    assert error.value.kind == "damaged"
    disk.kill()
    disk.flip("a.db", 2)
    disk.set_aside("a.db")
    assert not disk.exists("a.db")
    assert disk.exists("a.db" + ASIDE)
