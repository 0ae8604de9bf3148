"""A simulated client: a real session without a socket, a mirror kept by the protocol's rules, and a notebook of what
it was promised."""

from __future__ import annotations

from typing import Any

import orjson

from reactor.context import Caller
from reactor.host import Host
from reactor.session import Session

QUERIES = [
    "SELECT * FROM account WHERE zone = 2",
    "SELECT * FROM account WHERE balance > 1000 OR zone IS NULL",
    "SELECT * FROM receipt",
    "SELECT * FROM firing WHERE missed = 0",
    "SELECT account.* FROM account JOIN region ON account.zone = region.id WHERE region.is_open = TRUE",
]


class SimClient:
    """Sends calls, remembers which were acknowledged, follows live queries, and resumes them after a crash."""

    def __init__(self, name: str, queries: list[str]) -> None:
        self.identity = name.ljust(32, "0")
        self.queries = queries
        self.acknowledged: set[str] = set()
        self.refused: set[str] = set()
        self.counts: dict[str, set[int]] = {}
        self.alarms: list[int] = []
        self.mirrors: dict[str, dict[Any, list[Any]]] = {}
        self.problems: list[str] = []
        self.session: Session | None = None
        self._by_number: dict[int, str] = {}
        self._key_at: dict[str, int] = {}
        self._asked: dict[int, tuple[str, str]] = {}
        self._next_id = 0
        self._next_reply = 0
        self._history: str | None = None
        self.seq = 0

    # -- connecting --------------------------------------------------------------------------

    def connect(self, host: Host, number: int) -> None:
        """Open a session and follow the queries, resuming where the last one stopped."""
        self._asked.clear()
        self._by_number.clear()
        self._next_reply = self._next_id
        self.session = Session(
            host,
            Caller(self.identity, f"{number:032x}", is_owner=True),
            token=None,
            send=self._received,
            close=lambda code, reason: self.lose(),
            frame=lambda message: message + b"\n",
        )
        host.connect(self.session)

    def lose(self) -> None:
        """The connection is gone."""
        self.session = None

    def _subscribe(self) -> None:
        message: dict[str, Any] = {"id": self._take_id("subscribe", ""), "subscribe": self.queries}
        if self.mirrors:
            message["resume"] = {"history_id": self._history, "seq": self.seq}
        self._send(message)

    # -- asking ------------------------------------------------------------------------------

    def call(self, token: str, reducer: str, *args: Any, key: str | None = None) -> None:
        """Send a call that leaves ``token`` behind if it commits."""
        if self.session is None:
            return
        message: dict[str, Any] = {"id": self._take_id(reducer, token), "call": reducer, "args": [token, *args]}
        if key is not None:
            message["key"] = key
        self._send(message)

    def _take_id(self, kind: str, token: str) -> int:
        self._next_id += 1
        self._asked[self._next_id] = (kind, token)
        return self._next_id

    def _send(self, message: dict[str, Any]) -> None:
        if self.session is not None:
            self.session.receive(orjson.dumps(message))

    @property
    def is_waiting(self) -> bool:
        """Whether answers are outstanding."""
        return bool(self._asked)

    # -- being told --------------------------------------------------------------------------

    def _received(self, data: bytes) -> int:
        for line in data.splitlines():
            message = orjson.loads(line)
            if "hello" in message:
                self._greeted(message["hello"])
            elif "deltas" in message:
                self._commit(message)
            elif "id" in message:
                self._answered(message)
        return 0

    def _greeted(self, hello: dict[str, Any]) -> None:
        if self._history != hello["history_id"]:
            self._history = hello["history_id"]
            self.mirrors.clear()
        self._subscribe()

    def _answered(self, message: dict[str, Any]) -> None:
        self._next_reply += 1
        if message["id"] != self._next_reply:
            self.problems.append(f"answer {message['id']} came when {self._next_reply} was due")
            self._next_reply = message["id"]
        kind, token = self._asked.pop(message["id"])
        error = message.get("error")
        if error is not None:
            if error["code"] not in ("in_doubt", "read_only", "key_reused"):
                self.refused.add(token)
            if kind == "subscribe" and self.session is not None:
                # Without its queries it hangs up, and connects again when it is asked to.
                session = self.session
                self.lose()
                session.host.disconnect(session)  # type: ignore[attr-defined]
            return
        if kind == "subscribe":
            self._followed(message)
            return
        self.noted(kind, token, message["ok"], message["seq"])

    def noted(self, kind: str, token: str, answer: Any, seq: int) -> None:
        """Write down what was answered."""
        self.acknowledged.add(token)
        if kind == "arm":
            self.alarms.append(answer)
        elif kind == "count":
            self.counts.setdefault(token, set()).add(answer)

    def _followed(self, message: dict[str, Any]) -> None:
        for sql, part in zip(self.queries, message["ok"]["queries"], strict=True):
            key_at = self._key_at[sql] = part["columns"].index(part["key"])
            self._by_number[part["query"]] = sql
            if part["resumed"]:
                mirror = self.mirrors[sql]
                for row in part["upsert"]:
                    mirror[row[key_at]] = row
                for key in part["delete"]:
                    mirror.pop(key, None)
            else:
                self.mirrors[sql] = {row[key_at]: row for row in part["rows"]}
        self.seq = message["seq"]

    def _commit(self, message: dict[str, Any]) -> None:
        if message["seq"] <= self.seq:
            self.problems.append(f"commit {message['seq']} came after {self.seq}")
        self.seq = message["seq"]
        for delta in message["deltas"]:
            sql = self._by_number[delta["query"]]
            mirror, key_at = self.mirrors[sql], self._key_at[sql]
            for key in delta.get("delete", ()):
                if mirror.pop(key, None) is None:
                    self.problems.append(f"{sql}: {key} was deleted but not there")
            for key, row in delta.get("update", ()):
                if mirror.pop(key, None) is None:
                    self.problems.append(f"{sql}: {key} was updated but not there")
                mirror[row[key_at]] = row
            for row in delta.get("insert", ()):
                if row[key_at] in mirror:
                    self.problems.append(f"{sql}: {row[key_at]} was inserted twice")
                mirror[row[key_at]] = row
