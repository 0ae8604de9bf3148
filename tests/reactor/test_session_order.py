"""The order of what one connection is sent, when something slow stands in the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactor import Context, Module, primary_key
from reactor.testing import Rig


def _game() -> Module:
    game = Module("game")

    @game.table(public=True)
    class Monster:
        id: int = primary_key(auto=True)
        zone: int

    @game.reducer
    def spawn(ctx: Context, zone: int) -> int:
        return int(ctx.db.monster.insert(zone=zone).id)

    return game


def _kinds(client: Any) -> list[Any]:
    """What arrived: the id of an answer, or ``"commit"``."""
    return [m.get("id", "commit") for m in client.received if "hello" not in m]


def test_deltas_wait_for_the_answer_that_names_their_query() -> None:
    """A28, P4: a `subscribe` that waits behind slow SQL holds back the deltas of its queries, and nothing is lost."""
    slow: list[Callable[[bytes], None]] = []
    with Rig(_game()) as rig:
        rig.host.questions.runner = lambda question, respond: slow.append(respond)
        client = rig.connect("a" * 32)
        client.send({"id": "sql", "sql": "SELECT 1"})
        client.send({"id": "watch", "subscribe": ["SELECT * FROM monster WHERE zone = 1"]})
        rig.settle()
        rig.call("spawn", 1)
        rig.call("spawn", 1)
        assert _kinds(client) == [], "the answer to the SQL has to be first"
        slow[0](b'{"columns":[],"rows":[]}')
        assert _kinds(client) == ["sql", "watch", "commit", "commit"]
        seqs = [m["seq"] for m in client.received if "deltas" in m]
        assert seqs == sorted(seqs)


def test_deltas_do_not_wait_for_slow_sql() -> None:
    """A28: answers keep their order, and commits of queries that are known already go past them."""
    slow: list[Callable[[bytes], None]] = []
    with Rig(_game()) as rig:
        rig.host.questions.runner = lambda question, respond: slow.append(respond)
        client = rig.connect("a" * 32)
        client.send({"id": "watch", "subscribe": ["SELECT * FROM monster"]})
        rig.settle()
        client.send({"id": "sql", "sql": "SELECT 1"})
        client.send({"id": "call", "call": "spawn", "args": [1]})
        rig.settle()
        assert _kinds(client) == ["watch", "commit"]
        slow[0](b"null")
        assert _kinds(client) == ["watch", "commit", "sql", "call"]
