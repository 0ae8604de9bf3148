"""A simulated client of the guild: it sends commands and keeps a notebook of what it was told."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, NamedTuple

from tests.simulation.client import SimClient

GUILD_QUERIES = [
    "SELECT * FROM workflow WHERE entity_id = 2",
    "SELECT * FROM taken",
    "SELECT * FROM task WHERE status = 'Ready'",
]
UNCERTAIN = ("in_doubt", "read_only", "key_reused")
"""After these nobody knows whether it was done, then or before."""


class Claimed(NamedTuple):
    """A lease that was handed out in commit ``seq``."""

    seq: int
    task_id: int
    token: str


class Told(NamedTuple):
    """What was answered, in commit ``seq``."""

    seq: int
    answer: Any


class GuildClient(SimClient):
    """``started``: id and type of what it started. ``told``: by token what it was answered. ``asked``: by token how
    often it asked, ``denied``: how often it was certainly in vain. ``accepted``: tokens of items whose signal was
    answered. ``codes``: the codes of all errors."""

    def __init__(self, name: str) -> None:
        super().__init__(name, GUILD_QUERIES)
        self.started: list[tuple[int, str]] = []
        self.accepted: dict[str, int] = {}
        self.leases: list[tuple[int, str]] = []
        self.claims: list[Claimed] = []
        self.completed: list[Claimed] = []
        self.told: defaultdict[str, list[Told]] = defaultdict(list)
        self.asked: Counter[str] = Counter()
        self.denied: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()

    def call(self, token: str, reducer: str, *args: Any, key: str | None = None) -> None:
        """Send a call; ``token`` says what the answer is about."""
        if self.session is not None:
            self.asked[token] += 1
            self._send({"id": self._take_id(reducer, token), "call": reducer, "args": list(args)})

    def _answered(self, message: dict[str, Any]) -> None:
        error = message.get("error")
        if error is not None:
            kind, token = self._asked[message["id"]]
            self.codes[f"{kind} {error['code']}"] += 1
            if error["code"] not in UNCERTAIN:
                self.denied[token] += 1
            if error["code"] == "internal":
                self.problems.append(f"{kind} {token}: {error['message']}")
        super()._answered(message)

    def noted(self, kind: str, token: str, answer: Any, seq: int) -> None:
        """Write down what was answered."""
        self.told[token].append(Told(seq, answer))
        if kind == "workflow_start":
            self.started.append((answer, token))
        elif kind == "workflow_start_with":
            self.started.append((answer["id"], token.split()[2]))
        elif kind == "workflow_signal_or_start":
            self.started.append((answer["id"], "box"))
            self.accepted[token.split()[1]] = answer["id"]
        elif token.startswith("item "):
            _, item, workflow_id = token.split()
            self.accepted[item] = int(workflow_id)
        elif kind == "task_claim":
            for task in answer:
                self.leases.append((task["id"], task["token"]))
                self.claims.append(Claimed(seq, task["id"], task["token"]))
        elif kind == "task_complete":
            _, task_id, lease = token.split()
            self.completed.append(Claimed(seq, int(task_id), lease))
