"""Random subscriptions, commits, losses and resumptions against the naive model."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from client.messages import Failure, Reply
from client.mirror import View
from tests.client.modelserver import table_of
from tests.client.rig import Rig, Shadow

QUERIES = [
    "SELECT * FROM monster",
    "SELECT * FROM monster WHERE zone = 0",
    "SELECT * FROM monster WHERE zone = 1",
    "SELECT * FROM monster WHERE id = 0",
    "SELECT * FROM player",
]
ROWS = st.one_of(
    st.tuples(st.just("monster"), st.integers(0, 2), st.integers(0, 1), st.integers(0, 2)),
    st.tuples(st.just("player"), st.sampled_from(["ada", "bob"]), st.integers(0, 2)),
)


class Machine(RuleBasedStateMachine):
    """A31, A33, A35, P4: whatever happens, callbacks and mirror show the server's rows, nothing twice, no gap."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()
        self.tables = {name: Shadow(self.rig.core.mirror.table(name).listeners) for name in ("monster", "player")}
        self.sets: dict[int, tuple[tuple[str, ...], View, Shadow]] = {}
        self.ending: set[int] = set()
        self.keyed = 0

    @initialize()
    def first_connection(self) -> None:
        self.rig.connect()

    @rule(changes=st.lists(st.tuples(ROWS, st.booleans()), min_size=1, max_size=4))
    def commit(self, changes: list[tuple[tuple[Any, ...], bool]]) -> None:
        self.rig.server.commit({(row[0], row[1]): None if deletes else list(row[1:]) for row, deletes in changes})

    @rule(queries=st.lists(st.sampled_from(QUERIES), min_size=1, max_size=2, unique=True))
    def subscribe(self, queries: list[str]) -> None:
        view = View(self.rig.core.mirror)
        shadow = Shadow(view.listeners)
        self.sets[self.rig.core.subscribe(queries, view)] = (tuple(queries), view, shadow)

    @rule(data=st.data())
    def unsubscribe(self, data: st.DataObject) -> None:
        active = [set_id for set_id in self.sets if self.rig.core.is_active(set_id)]
        if active:
            set_id = data.draw(st.sampled_from(active))
            self.ending.add(set_id)
            self.rig.core.unsubscribe(set_id)

    @rule()
    def keyed_call(self) -> None:
        self.keyed += 1
        self.rig.core.call("put", ["player", ["bob", self.keyed % 3]], key=f"k{self.keyed}")

    @precondition(lambda self: self.rig.session is not None)
    @rule()
    def answers_come_after_commits(self) -> None:
        """As behind a slow query: what was asked is carried out, commits pass, only then come the answers."""
        assert self.rig.session is not None
        self.rig.session.hold_answers()
        self.rig.send()
        self.rig.server.commit({("monster", 0): [0, self.rig.server.seq % 2, self.rig.server.seq]})
        while self.rig.deliver_one():
            pass

    @precondition(lambda self: self.rig.session is not None)
    @rule()
    def hold(self) -> None:
        assert self.rig.session is not None
        self.rig.session.hold_answers()

    @precondition(lambda self: self.rig.session is not None)
    @rule()
    def release(self) -> None:
        assert self.rig.session is not None
        self.rig.session.release_answers()

    @precondition(lambda self: self.rig.session is not None)
    @rule()
    def send(self) -> None:
        self.rig.send()

    @precondition(lambda self: self.rig.session is not None)
    @rule(count=st.integers(1, 4))
    def deliver(self, count: int) -> None:
        for _ in range(count):
            self.rig.deliver_one()

    @precondition(lambda self: self.rig.session is not None)
    @rule()
    def lose_connection(self) -> None:
        self.rig.disconnect()

    @precondition(lambda self: self.rig.session is None)
    @rule(resumes=st.booleans(), new_history=st.booleans())
    def reconnect(self, resumes: bool, new_history: bool) -> None:
        self.rig.server.resumes = resumes
        if new_history:
            self.rig.server.new_history()
        # Query numbers are the server's own and mean nothing on another connection.
        self.rig.server.shared.clear()
        self.rig.connect()

    @rule()
    def settle(self) -> None:
        if self.rig.session is None:
            self.rig.connect()
        self.rig.settle()
        self.everything_matches(self.rig.server.seq)
        assert self.rig.core.unanswered == 0
        assert len(self.rig.server.done) == self.keyed
        assert len(self.rig.of(Reply)) == self.keyed
        assert not self.rig.of(Failure)

    @invariant()
    def callbacks_tell_the_truth(self) -> None:
        for name, shadow in self.tables.items():
            rows = {(name, row[0]): row for row in self.rig.core.mirror.table(name)}
            assert shadow.rows == rows
        for _, view, shadow in self.sets.values():
            assert sorted(shadow.rows.values(), key=repr) == sorted(view.rows(), key=repr)

    @invariant()
    def mirror_is_the_server_at_its_seq(self) -> None:
        core = self.rig.core
        # While a set is ending the server has already stopped telling of it.
        ending = any(set_id in self.ending and self.sets[set_id][1].queries for set_id in self.sets)
        if core.last_seq and not ending:
            self.everything_matches(core.last_seq)

    def everything_matches(self, seq: int) -> None:
        expected: dict[tuple[str, Any], tuple[Any, ...]] = {}
        for queries, view, _ in self.sets.values():
            if view.queries:
                found = {
                    (table_of(query), key): tuple(row)
                    for query in queries
                    for key, row in self.rig.server.result(query, seq).items()
                }
                assert {(row._table, row[0]): tuple(row) for row in view.rows()} == found
                expected.update(found)
        mirrored = {(table.name, row[0]): tuple(row) for table in self.rig.core.mirror.tables() for row in table}
        assert mirrored == expected

    def teardown(self) -> None:
        self.settle()


TestMirror = Machine.TestCase
TestMirror.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
