"""``reactor.publishing``: snapshots, deltas, sets, resumption: what a subscriber has is the query's result."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor.limits import DEFAULT_LIMITS
from reactor.messages import Task
from reactor.testing import OWNER, Rig, RigClient
from tests.reactor.fakes import STRANGER, Desk, game

OPEN_ZONES = "SELECT m.* FROM monster m JOIN zone z ON m.zone = z.id WHERE z.open = true"


def _subscribe(client: RigClient, *texts: str, resume: Any = None) -> dict[str, Any]:
    answer = client.ask(subscribe=list(texts), **({} if resume is None else {"resume": resume}))
    assert "ok" in answer, answer
    return answer


def _frames(client: RigClient) -> list[dict[str, Any]]:
    return [m for m in client.received if "deltas" in m]


def test_a21_snapshot_then_deltas_of_that_query_alone() -> None:
    """A21: exactly the matching rows; then only what concerns them, as insert, update and delete."""
    with Rig(game) as rig:
        for zone in (1, 2, 1):
            rig.call("spawn", zone)
        client = rig.connect(STRANGER)
        told = _subscribe(client, "SELECT * FROM monster WHERE zone = 1")
        part = told["ok"]["queries"][0]
        assert part["columns"] == ["id", "zone", "hp", "name"]
        assert (part["table"], part["key"], part["resumed"]) == ("monster", "id", False)
        assert part["rows"] == [[1, 1, 10, None], [3, 1, 10, None]]
        assert told["seq"] == rig.engine.seq
        rig.call("hit", 2, 1)
        rig.call("hit", 1, 1)
        rig.call("move", 2, 1)
        rig.call("move", 3, 2)
        rig.call("hit", 1, 100)
        shown = [{k: v for k, v in f["deltas"][0].items() if k not in ("query", "table")} for f in _frames(client)]
        assert shown == [
            {"update": [[1, [1, 1, 9, None]]]},
            {"insert": [[2, 1, 9, None]]},
            {"delete": [3]},
            {"delete": [1]},
        ]


def test_a29_one_frame_per_commit_whole() -> None:
    """A29, A33: three rows changed by one call in two tables are one message; a call that changes nothing is none."""
    with Rig(game) as rig:
        client = rig.connect(STRANGER)
        _subscribe(client, "SELECT * FROM monster", "SELECT * FROM zone")

        def act(ctx: Any) -> None:
            ctx.db.monster.insert(zone=1)
            ctx.db.monster.insert(zone=2)
            ctx.db.zone.insert(id=1)

        rig.run(act)
        frames = _frames(client)
        assert len(frames) == 1
        assert sorted((d["table"], len(d["insert"])) for d in frames[0]["deltas"]) == [("monster", 2), ("zone", 1)]
        rig.run(lambda ctx: ctx.db.zone.update(1, open=True) and None)
        rig.call("spawn", 1)
        assert [f["seq"] for f in _frames(client)] == [frames[0]["seq"], frames[0]["seq"] + 1]


def test_a31_overlapping_sets_share_frames_and_rows() -> None:
    """A31: the same query in two sets is mentioned once; dropping one set leaves the other its rows."""
    with Rig(game) as rig:
        client = rig.connect(STRANGER)
        text = "SELECT * FROM monster WHERE zone = 1"
        first = _subscribe(client, text, "SELECT * FROM monster")["ok"]
        second = _subscribe(client, text.lower(), text)["ok"]
        shared = first["queries"][0]["query"]
        assert [q["query"] for q in second["queries"]] == [shared, shared]
        rig.call("spawn", 1)
        numbers = [d["query"] for d in _frames(client)[0]["deltas"]]
        assert sorted(numbers) == sorted({shared, first["queries"][1]["query"]})
        assert client.ask(unsubscribe=first["set"])["ok"] == {"set": first["set"]}
        rig.call("spawn", 1)
        assert [d["query"] for d in _frames(client)[1]["deltas"]] == [shared]
        client.ask(unsubscribe=second["set"])
        rig.call("spawn", 1)
        assert len(_frames(client)) == 2
        assert len(rig.engine.subscriptions) == 0
        assert rig.host.publisher._watchers == {}


def test_a32_unsubscribing() -> None:
    """A32: acknowledged; nothing of it comes later; a set that is not there is an error, not the end."""
    with Rig(game) as rig:
        client = rig.connect(STRANGER)
        number = _subscribe(client, "SELECT * FROM monster")["ok"]["set"]
        assert client.ask(unsubscribe=number)["ok"] == {"set": number}
        rig.call("spawn", 1)
        assert _frames(client) == []
        for wrong in (number, 0, 99, -1):
            assert client.ask(unsubscribe=wrong)["error"]["code"] == "unknown_subscription"
        again = _subscribe(client, "SELECT * FROM monster")["ok"]
        assert again["set"] != number
        assert len(again["queries"][0]["rows"]) == 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELEKT", "unsupported_query"),
        ("", "unsupported_query"),
        ("SELECT * FROM nowhere", "unknown_table"),
        ("SELECT * FROM monster WHERE height = 1", "unknown_column"),
        ("SELECT COUNT(*) FROM monster", "unsupported_query"),
        ("SELECT * FROM monster, zone", "unsupported_query"),
        ("SELECT * FROM secret", "forbidden"),
        ("SELECT m.* FROM monster m JOIN secret s ON m.id = s.id", "forbidden"),
        ("SELECT * FROM reactor_request", "forbidden"),
        ("DELETE FROM monster", "unsupported_query"),
        ("SELECT * FROM monster WHERE " + "(" * 5000 + "id = 1" + ")" * 5000, "unsupported_query"),
        ("SELECT * FROM monster WHERE " + "NOT " * 4000 + "id = 1", "unsupported_query"),
        ("SELECT * FROM monster WHERE id IN (" + ",".join("1" * 8000) + ")", "unsupported_query"),
    ],
)
def test_a34_a_bad_subscription_fails_alone(text: str, code: str) -> None:
    """A34, A111: an error answer; other queries of its set are not held either; the connection goes on."""
    with Rig(game) as rig:
        client = rig.connect(STRANGER)
        answer = client.ask(subscribe=["SELECT * FROM monster", text])
        assert answer["error"]["code"] == code
        rig.call("spawn", 1)
        assert _frames(client) == []
        assert len(rig.engine.subscriptions) == 0
        assert client.session.held == {}
        assert client.session.sets == {}
        assert client.ask(call="spawn", args=[1])["ok"] == 2


def test_a111_the_owner_may_read_private_tables() -> None:
    """A111: what is private to clients is the owner's to see."""
    with Rig(game) as rig:
        watch = rig.connect(OWNER).watch("SELECT * FROM secret")
        rig.call("hide", 1, "x")
        assert watch.rows == {1: {"id": 1, "text": "x"}}


def test_shared_queries_are_encoded_once() -> None:
    """Many who watch the same get the same bytes."""
    with Rig(game) as rig:
        clients = [rig.connect(STRANGER) for _ in range(20)]
        for client in clients:
            _subscribe(client, "SELECT * FROM monster WHERE zone = 1")
        made: list[Any] = []
        part = rig.host.publisher._part
        rig.host.publisher._part = lambda delta: made.append(delta) or part(delta)  # type: ignore[method-assign,func-returns-value]
        rig.call("spawn", 1)
        assert len(made) == 1
        assert len(rig.engine.subscriptions) == 1
        assert len({str(client.received[-1]) for client in clients}) == 1
        for client in clients:
            client.disconnect()
        assert len(rig.engine.subscriptions) == 0


# -- resuming --------------------------------------------------------------------------------------


def _mirror(told: dict[str, Any], before: dict[int, Any]) -> dict[int, Any]:
    part = told["ok"]["queries"][0]
    if not part["resumed"]:
        return {row[0]: row for row in part["rows"]}
    rows = dict(before)
    for key in part["delete"]:
        rows.pop(key, None)
    rows.update({row[0]: row for row in part["upsert"]})
    return rows


def _result(rig: Rig, zone: int) -> dict[int, Any]:
    return {r.id: [r.id, r.zone, r.hp, r.name] for r in rig.rows("monster") if r.zone == zone}


@pytest.mark.parametrize("crash", [False, True])
def test_a35_resuming_gives_the_difference(crash: bool) -> None:
    """A35: inside the window, also across a crash, only what changed is sent; the mirror is the result again."""
    text = "SELECT * FROM monster WHERE zone = 1"
    with Rig(game) as rig:
        for zone in (1, 1, 1, 2, 2):
            rig.call("spawn", zone)
        client = rig.connect(STRANGER)
        told = _subscribe(client, text)
        mirror, seq = _mirror(told, {}), told["seq"]
        history = client.received[0]["hello"]["history_id"]
        client.disconnect()
        rig.call("hit", 1, 1)
        rig.call("hit", 2, 100)
        rig.call("move", 3, 2)
        rig.call("move", 4, 1)
        rig.call("hit", 1, 1)
        rig.call("hit", 5, 1)
        if crash:
            rig.crash()
            rig.reopen()
        back = rig.connect(STRANGER)
        again = _subscribe(back, text, resume={"history_id": history, "seq": seq})
        part = again["ok"]["queries"][0]
        assert part["resumed"] is True
        assert "rows" not in part
        assert sorted(row[0] for row in part["upsert"]) == [1, 4]
        assert {2, 3} <= set(part["delete"])
        assert _mirror(again, mirror) == _result(rig, 1)
        rig.call("hit", 1, 1)
        assert len(_frames(back)) == 1


@pytest.mark.parametrize(
    "resume",
    [
        {"history_id": "other", "seq": 3},
        {"history_id": None, "seq": -1},
        {"history_id": None, "seq": 0},
        {"history_id": None, "seq": 1 << 62},
    ],
)
def test_a35_outside_the_window_a_new_snapshot_is_flagged(resume: dict[str, Any]) -> None:
    """A35: another history, the future, or too long ago: never a silent gap."""
    with Rig(game, limits=dataclasses.replace(DEFAULT_LIMITS, resume_changes_max=3)) as rig:
        for _ in range(10):
            rig.call("spawn", 1)
        client = rig.connect(STRANGER)
        wanted = dict(resume, history_id=resume["history_id"] or client.received[0]["hello"]["history_id"])
        part = _subscribe(client, "SELECT * FROM monster", resume=wanted)["ok"]["queries"][0]
        assert part["resumed"] is False
        assert len(part["rows"]) == 10


def test_a35_semi_joins_are_told_anew() -> None:
    """A35: rows come and go there that did not change themselves."""
    with Rig(game) as rig:
        client = rig.connect(STRANGER)
        told = _subscribe(client, OPEN_ZONES)
        resume = {"history_id": client.received[0]["hello"]["history_id"], "seq": told["seq"]}
        assert _subscribe(client, OPEN_ZONES, resume=resume)["ok"]["queries"][0]["resumed"] is False


def test_a_resume_in_the_middle_of_a_turn_sees_the_commits_before_it() -> None:
    """A35: what the same turn has already committed is part of the difference."""
    desk = Desk()
    client = desk.connect(STRANGER)
    seq = desk.host.durable_seq
    desk.connect(STRANGER).send({"id": 1, "call": "spawn", "args": [1]})
    resume = {"history_id": desk.storage.history_id, "seq": seq}
    client.send({"id": 2, "subscribe": ["SELECT * FROM monster"], "resume": resume})
    desk.settle()
    desk.storage.sync()
    part = client.received[0]["ok"]["queries"][0]
    assert part["resumed"] is True
    assert [row[0] for row in part["upsert"]] == [1]


def test_a_returning_client_with_many_queries_does_not_hold_up_the_others() -> None:
    """Past a bound of keys times queries snapshots are cheaper, and flagged as such."""
    with Rig(game, limits=dataclasses.replace(DEFAULT_LIMITS, resume_changes_max=50)) as rig:
        client = rig.connect(STRANGER)
        seq = rig.engine.seq
        history = client.received[0]["hello"]["history_id"]
        for i in range(20):
            rig.call("spawn", i)
        texts = [f"SELECT * FROM monster WHERE zone = {i}" for i in range(20)]
        told = _subscribe(client, *texts, resume={"history_id": history, "seq": seq})["ok"]["queries"]
        assert {q["resumed"] for q in told} == {True, False}
        assert sum(len(q.get("delete", ())) for q in told) <= 4 * 50
        for i, part in enumerate(told):
            rows = part["upsert"] if part["resumed"] else part["rows"]
            assert [row[1] for row in rows] == [i]


# -- bounds ----------------------------------------------------------------------------------------


def test_req19_bounds_of_a_subscription() -> None:
    """REQ-19: the number of queries of a connection, and the rows of one answer, however they are asked for."""
    limits = dataclasses.replace(DEFAULT_LIMITS, snapshot_rows_max=10, subscriptions_per_connection_max=20)
    with Rig(game, limits=limits) as rig:
        for _ in range(6):
            rig.call("spawn", 1)
        client = rig.connect(STRANGER)
        texts = ["SELECT * FROM monster", "SELECT * FROM monster WHERE zone = 1"]
        assert client.ask(subscribe=texts)["error"]["code"] == "snapshot_too_large"
        assert client.ask(subscribe=texts[:1] * 5)["error"]["code"] == "snapshot_too_large"
        for _ in range(3):
            _subscribe(client, texts[0])
        empty = [f"SELECT * FROM monster WHERE zone = {i}" for i in range(2, 20)]
        assert client.ask(subscribe=empty)["error"]["code"] == "limit_exceeded"
        _subscribe(client, *empty[:17])
        assert client.ask(subscribe=empty[:1])["error"]["code"] == "limit_exceeded"
        assert len(client.session.sets) == 4


def test_req19_one_message_cannot_make_the_reactor_go_through_everything_again_and_again() -> None:
    """REQ-19: queries without an index are bounded by the rows they look at, not only by those they find."""
    with Rig(game, limits=dataclasses.replace(DEFAULT_LIMITS, snapshot_rows_max=10)) as rig:
        rig.batch(*[("spawn", 1)] * 60)
        client = rig.connect(STRANGER)
        scans = [f"SELECT * FROM monster WHERE hp > {1000 + i}" for i in range(4)]
        assert "ok" in client.ask(subscribe=scans[:3])
        assert client.ask(subscribe=scans)["error"]["code"] == "snapshot_too_large"
        joins = [f"SELECT z.* FROM zone z JOIN monster m ON z.id = m.zone WHERE m.hp > {i}" for i in range(4)]
        assert client.ask(subscribe=joins)["error"]["code"] == "snapshot_too_large"
        assert "ok" in client.ask(subscribe=[f"SELECT * FROM monster WHERE zone = {i}" for i in range(2, 50)])
        assert len(client.session.sets) == 2


def test_remembered_changes_are_bounded() -> None:
    """REQ-19: by their number, and undone commits are forgotten."""
    with Rig(game, limits=dataclasses.replace(DEFAULT_LIMITS, resume_changes_max=10)) as rig:
        for _ in range(50):
            rig.call("spawn", 1)
        publisher = rig.host.publisher
        assert publisher._recent_changes == sum(len(keys) for _, keys in publisher._recent) <= 10
        publisher.forget_after(rig.engine.seq - 4)
        assert publisher._recent[-1][0] == rig.engine.seq - 4
        assert publisher._recent_changes == sum(len(keys) for _, keys in publisher._recent)


# -- always ----------------------------------------------------------------------------------------

QUERIES = [
    "SELECT * FROM monster",
    "SELECT * FROM monster WHERE zone = 1",
    "SELECT * FROM monster WHERE hp < 6 AND zone IN (0, 1)",
    OPEN_ZONES,
]
_act = st.one_of(
    st.tuples(st.just("spawn"), st.integers(0, 2), st.integers(1, 12)),
    st.tuples(st.just("hit"), st.integers(1, 5), st.integers(1, 6)),
    st.tuples(st.just("move"), st.integers(1, 5), st.integers(0, 2)),
    st.tuples(st.just("zone"), st.integers(0, 2), st.booleans()),
)
_turn = st.lists(_act, max_size=4)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(_turn, st.sampled_from(["none", "subscribe", "drop", "sync"])), max_size=12), st.data())
def test_p4_a30_snapshot_and_deltas_are_the_result_at_every_frame(
    turns: list[tuple[list[tuple[Any, ...]], str]], data: st.DataObject
) -> None:
    """P4, A30: whenever it subscribed and whenever the disk synced, a mirror equals the query at the seq it has."""
    desk = Desk()
    results: dict[int, dict[str, dict[Any, Any]]] = {}

    def note() -> None:
        results.setdefault(desk.engine.seq, _results(desk))

    note()
    clients: list[tuple[RigClient, str]] = []
    writer = desk.connect(STRANGER)
    idle = [desk.connect(STRANGER) for _ in range(4)]
    for acts, then in turns:
        for name, *args in acts:
            _write(desk, writer, name, args)
            if data.draw(st.booleans()):
                desk.settle()
                note()
        if then == "subscribe" and idle:
            client = idle.pop()
            text = data.draw(st.sampled_from(QUERIES))
            client.send({"id": 1, "subscribe": [text]})
            clients.append((client, text))
        elif then == "drop" and clients:
            clients.pop()[0].disconnect()
        desk.settle()
        note()
        if then == "sync":
            desk.storage.sync()
            for client, text in clients:
                _check(client, text, results)
    desk.storage.sync()
    for client, text in clients:
        _check(client, text, results)


def _write(desk: Desk, writer: RigClient, name: str, args: list[Any]) -> None:
    if name != "zone":
        writer.send({"id": 1, "call": name, "args": args})
        desk.settle()
        return
    zones = desk.engine.store.tables["zone"]

    def change(ctx: Any) -> None:
        if zones.get(args[0]) is None:
            ctx.db.zone.insert(id=args[0], open=args[1])
        else:
            ctx.db.zone.update(args[0], open=args[1])

    desk.host.submit(Task("zone", change))
    desk.settle()


def _results(desk: Desk) -> dict[str, dict[Any, Any]]:
    monsters = list(desk.engine.store.tables["monster"])
    is_open = {z.id for z in desk.engine.store.tables["zone"] if z.open}
    tests: list[Any] = [
        lambda m: True,
        lambda m: m.zone == 1,
        lambda m: m.hp < 6 and m.zone in (0, 1),
        lambda m: m.zone in is_open,
    ]
    return {
        text: {m.id: [m.id, m.zone, m.hp, m.name] for m in monsters if test(m)}
        for text, test in zip(QUERIES, tests, strict=True)
    }


def _check(client: RigClient, text: str, results: dict[int, dict[str, dict[Any, Any]]]) -> None:
    """Replay what the client has received and compare with the result at each seq."""
    mirror: dict[Any, Any] = {}
    seq = -1
    for message in client.received:
        if "deltas" in message:
            assert message["seq"] > seq, "frames come in order, after the snapshot"
            seq = message["seq"]
            (delta,) = message["deltas"]
            for key in delta.get("delete", ()):
                del mirror[key]
            for key, row in delta.get("update", ()):
                del mirror[key]
                mirror[row[0]] = row
            for row in delta.get("insert", ()):
                assert row[0] not in mirror
                mirror[row[0]] = row
        elif "ok" in message:
            seq = message["seq"]
            mirror = {row[0]: row for row in message["ok"]["queries"][0]["rows"]}
        if seq in results:
            assert mirror == results[seq][text]
