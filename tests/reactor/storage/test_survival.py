"""The whole storage over a simulated disk: power cuts, kills, EIO, ENOSPC, trimming, new columns, many seeds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from reactor.columns import TYPES, Column
from reactor.errors import Refusal
from reactor.storage import Durability, Group, InlineStorage, Opened
from tests.reactor.storage.support import ITEM, Recorder, group, opened
from tests.simulation.disk import Kind, Operation, SimulatedDisk

SEEDS = 200
DIRECTORY = Path("/d")
FAULTS: tuple[tuple[Operation, Kind], ...] = (("write", "io"), ("write", "full"), ("sync", "io"))
Rows = dict[int, tuple[object, ...]]


class LostError(Exception):
    """Something acknowledged is missing."""


@dataclass
class Life:
    """A store that lives, dies and lives again, with what must be true of it."""

    rng: Random
    durability: Durability = "full"
    faults: bool = True
    disk: SimulatedDisk = field(init=False)
    acknowledged: int = 0
    columns: int = 0
    # The rows after each commit that may exist, by seq.
    states: dict[int, Rows] = field(default_factory=lambda: {0: {}})
    refusals: int = 0

    def __post_init__(self) -> None:
        # Without power-safe overwrite SQLite pads each commit, and space that ends in the padding leaves a commit
        # that was refused and may yet be found. SQLite takes every file system for power-safe, and so do we.
        self.disk = SimulatedDisk(self.rng.choice((512, 4096)), powersafe=True)

    def open(self) -> Opened | None:
        """Open and compare with the model; None if an injected error kept it from opening."""
        if self.rng.random() < 0.2:
            self.columns += 1
        extra = tuple(Column(f"extra_{i}", TYPES["i64"], default=i) for i in range(self.columns))
        schema = replace(ITEM, columns=(*ITEM.columns, *extra))
        if self.faults and self.rng.random() < 0.2:
            operation, kind = self.rng.choice(FAULTS)
            self.disk.fail(operation, kind, self.rng.randrange(20), self.rng.randrange(1, 5))
        try:
            store = opened(
                DIRECTORY,
                [schema],
                disk=self.disk,
                durability=self.durability,
                new_history_id=str(self.rng.random()),
            )
        except Refusal as refusal:
            # Not before its time: only an error that was injected may keep a store from opening.
            assert refusal.code == "storage_unsafe", refusal.message
            self.refusals += 1
            return None
        if store.last_seq < self.acknowledged:
            raise LostError(f"{self.acknowledged} were acknowledged, {store.last_seq} are there")
        found = {row[0]: row for row in store.rows("item")}
        stored = self.states[store.last_seq]
        assert found == {key: (*row, *range(len(row) - 3, self.columns)) for key, row in stored.items()}
        assert [seq for seq, _ in store.recent] == list(
            range(store.last_seq - len(store.recent) + 1, store.last_seq + 1)
        )
        self.acknowledged = store.last_seq
        self.disk.heal()
        return store

    def commit(self, seq: int) -> Group:
        """A group of one commit on top of the newest state."""
        rows = dict(self.states[seq - 1])
        changes: list[object] = []
        for _ in range(self.rng.randrange(4)):
            key = self.rng.randrange(8)
            if key in rows and self.rng.random() < 0.3:
                del rows[key]
                changes += [-1, key]
            else:
                row = (key, seq, "x" * self.rng.randrange(3_000), *range(self.columns))
                rows[key] = row
                changes += [1, list(row)]
        self.states[seq] = rows
        return group(seq, [changes])

    def live(self, store: Opened) -> None:
        """Work until a whim or an error ends it."""
        storage, host = InlineStorage(store, automatic=False), Recorder()
        storage.start(host)
        seq = store.last_seq
        if self.faults and self.rng.random() < 0.5:
            operation, kind = self.rng.choice(FAULTS)
            self.disk.fail(operation, kind, self.rng.randrange(40), self.rng.randrange(1, 5))
        for _ in range(self.rng.randrange(1, 40)):
            if ("failed", "io") in host.told:
                # What was on its way is in doubt, and nothing more is taken.
                break
            whim = self.rng.random()
            if whim < 0.5 and seq - storage.durable_seq < 20:
                seq += 1
                storage.append(self.commit(seq))
            elif whim < 0.75:
                storage.pump()
                storage.reset()
                seq = storage.durable_seq
            elif whim < 0.9:
                storage.pump_projection()
            elif whim < 0.95:
                storage.mark_alive(seq, seq)
            else:
                storage.trim(self.rng.randrange(seq + 1) * 1_000_000)
            self.acknowledged = max(self.acknowledged, host.durable_seq)
        if self.rng.random() < 0.2:
            storage.close()
            self.acknowledged = max(self.acknowledged, host.durable_seq)

    def run(self) -> None:
        """Six lives."""
        for _ in range(6):
            store = self.open()
            if store is not None:
                self.live(store)
            if self.rng.random() < 0.3:
                self.disk.kill()
                self.disk.heal()
            else:
                self.disk.crash(self.rng)


def test_nothing_acknowledged_is_lost() -> None:
    """P1, P2, P6: memory = fold of log = projection after any end, and no injected error is taken for damage."""
    refusals = 0
    for seed in range(SEEDS):
        life = Life(Random(seed))
        try:
            life.run()
        except Exception as error:
            raise AssertionError(f"Life(Random({seed})).run() failed: {error!r}") from error
        refusals += life.refusals
    assert SEEDS / 10 < refusals < SEEDS


def test_relaxed_loses_acknowledged_commits_and_opens_again() -> None:
    """The negative control, and: whatever was lost, a relaxed store opens in a state that once was."""
    lost = 0
    for seed in range(SEEDS):
        try:
            Life(Random(seed), "relaxed", faults=False).run()
        except LostError:
            lost += 1
    assert lost > SEEDS / 3
