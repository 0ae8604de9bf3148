"""A naive server of the native protocol, for testing the client: a few dicts; a query looks at all rows.

It keeps every past state, so a test can ask what a query's result was at any commit. Faults are up to the test: which
messages arrive, when the connection ends, whether a resume is honoured, and whether answers are held up.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

Rows = dict[Any, list[Any]]
State = dict[str, Rows]

COLUMNS = {"monster": ["id", "zone", "hp"], "player": ["name", "level"]}
_QUERY = re.compile(r"SELECT \* FROM (\w+)(?: WHERE (\w+) = (\S+))?")


class ModelServer:
    """Tables, their history, and what is remembered of idempotency keys."""

    def __init__(self) -> None:
        self.history_id = "h1"
        self.columns = {name: list(columns) for name, columns in COLUMNS.items()}
        self.states: list[State] = [{name: {} for name in COLUMNS}]
        self.sessions: list[ModelSession] = []
        self.done: dict[str, Any] = {}
        self.resumes = True
        self.query_numbers = iter(range(1, 1_000_000))
        self.shared: dict[str, int] = {}

    @property
    def seq(self) -> int:
        """The number of the latest commit."""
        return len(self.states) - 1

    def connect(self) -> ModelSession:
        """A new connection; its greeting is waiting to be taken."""
        session = ModelSession(self)
        self.sessions.append(session)
        return session

    def commit(self, changes: dict[tuple[str, Any], list[Any] | None]) -> int:
        """One commit: rows by table and key, None deletes. Sends what every session must see of it."""
        state = {name: dict(rows) for name, rows in self.states[-1].items()}
        for (table, key), row in changes.items():
            if row is None:
                state[table].pop(key, None)
            else:
                state[table][key] = row
        self.states.append(state)
        for session in self.sessions:
            session.publish(self.states[-2], state)
        return self.seq

    def new_history(self) -> None:
        """As after a restore from a backup: the numbers mean something else now."""
        self.history_id += "x"

    def result(self, query: str, seq: int | None = None) -> Rows:
        """A query's rows by key, now or as of a commit."""
        return result(query, self.states[self.seq if seq is None else seq], self.columns)


def result(query: str, state: State, columns: dict[str, list[str]]) -> Rows:
    """A query's rows by key in a state of all tables."""
    match = _QUERY.fullmatch(query)
    if match is None or match[1] not in columns:
        raise ValueError(query)
    table, column, value = match[1], match[2], match[3]
    if column is None:
        return dict(state[table])
    place = columns[table].index(column)
    return {key: row for key, row in state[table].items() if json.dumps(row[place]) == value}


def table_of(query: str) -> str:
    """The table a query reads."""
    match = _QUERY.fullmatch(query)
    assert match is not None
    return match[1]


class ModelSession:
    """One connection: feed it the client's messages, take what it sends from ``out``."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self.out: list[str] = []
        self.held: list[str] | None = None
        self.sets: dict[int, list[str]] = {}
        self.received: list[dict[str, Any]] = []
        self._numbers = iter(range(1, 1_000_000))
        hello = {
            "protocol": "v1.json.reactor",
            "database": "arena",
            "identity": "ab" * 16,
            "token": "secret",
            "connection_id": "cd" * 16,
            "history_id": server.history_id,
            "seq": server.seq,
            "durability": "memory",
            "time_us": 1_000_000,
            "limits": {"message_bytes_max": 65536, "inflight_max": 100},
        }
        self.out.append(json.dumps({"hello": hello}))

    def hold_answers(self) -> None:
        """From now on answers wait, as behind a slow query; commits do not."""
        if self.held is None:
            self.held = []

    def release_answers(self) -> None:
        """Send the answers that were held."""
        held, self.held = self.held, None
        self.out.extend(held or ())

    def receive(self, message: bytes) -> None:
        """Take in one message of the client and answer it."""
        body = json.loads(message)
        self.received.append(body)
        try:
            answer: dict[str, Any] = {"id": body["id"], "ok": self._answer(body), "seq": self.server.seq}
        except (ValueError, KeyError) as error:
            failure = {"code": "unsupported_query", "message": f"not understood: {error}"}
            answer = {"id": body["id"], "error": failure}
        (self.out if self.held is None else self.held).append(json.dumps(answer))

    def _answer(self, body: dict[str, Any]) -> Any:
        if "subscribe" in body:
            return self._subscribe(body)
        if "unsubscribe" in body:
            del self.sets[body["unsubscribe"]]
            return {"set": body["unsubscribe"]}
        if "sql" in body:
            return {"columns": ["n"], "rows": [[len(self.server.states[-1]["monster"])]], "elapsed_us": 5}
        if "time" in body:
            return {"echo": body["time"], "time_us": 2_000_000, "clocks": {}}
        if "batch" in body:
            return self._once(body, lambda: [self._run(call) for call in body["batch"]])
        return self._once(body, lambda: self._run(body))

    def _once(self, body: dict[str, Any], run: Callable[[], Any]) -> Any:
        key = body.get("key")
        if key is None:
            return run()
        if key not in self.server.done:
            self.server.done[key] = run()
        return self.server.done[key]

    def _run(self, call: dict[str, Any]) -> Any:
        if call["call"] != "put":
            raise KeyError(call["call"])
        table, row = call["args"]
        self.server.commit({(table, row[0]): row})
        return row[0]

    def _subscribe(self, body: dict[str, Any]) -> Any:
        for query in body["subscribe"]:
            self.server.result(query)
        number = next(self._numbers)
        self.sets[number] = list(body["subscribe"])
        resume = body.get("resume")
        since = None
        if resume and self.server.resumes and resume["history_id"] == self.server.history_id:
            since = resume["seq"]
        queries = [self._query(query, since) for query in body["subscribe"]]
        return {"set": number, "queries": queries}

    def _query(self, query: str, since: int | None) -> dict[str, Any]:
        table = table_of(query)
        part = {
            "query": self.number(query),
            "sql": query,
            "table": table,
            "columns": self.server.columns[table],
            "key": self.server.columns[table][0],
        }
        now = self.server.result(query)
        if since is None:
            return {**part, "resumed": False, "rows": list(now.values())}
        touched = self._touched(table, since)
        upsert = [now[key] for key in touched if key in now]
        return {**part, "resumed": True, "upsert": upsert, "delete": [key for key in touched if key not in now]}

    def _touched(self, table: str, since: int) -> list[Any]:
        states = self.server.states[since:]
        keys = {key for state in states for key in state[table]}
        return sorted(
            key for key in keys if any(a[table].get(key) != b[table].get(key) for a, b in itertools.pairwise(states))
        )

    def number(self, query: str) -> int:
        """The number this query has while anybody holds it."""
        shared = self.server.shared
        if query not in shared:
            shared[query] = next(self.server.query_numbers)
        return shared[query]

    def publish(self, before: State, after: State) -> None:
        """One frame for a commit, whole, if it touches anything this session holds."""
        queries = dict.fromkeys(query for queries in self.sets.values() for query in queries)
        deltas = [delta for query in queries for delta in self._delta(query, before, after)]
        if deltas:
            self.out.append(json.dumps({"seq": self.server.seq, "at": self.server.seq * 10, "deltas": deltas}))

    def _delta(self, query: str, before: State, after: State) -> Iterator[dict[str, Any]]:
        old = result(query, before, self.server.columns)
        new = result(query, after, self.server.columns)
        delta: dict[str, Any] = {
            "insert": [row for key, row in new.items() if key not in old],
            "update": [[key, row] for key, row in new.items() if key in old and old[key] != row],
            "delete": [key for key in old if key not in new],
        }
        parts = {name: rows for name, rows in delta.items() if rows}
        if parts:
            yield {"query": self.number(query), "table": table_of(query), **parts}
