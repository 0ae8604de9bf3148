"""A rig with something of everything, for calls at random and for those who may not."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from reactor.errors import SenderError
from reactor.testing import Rig
from tests.workflows.control.samples import Parked, Stubborn
from tests.workflows.events.support import Waiter
from tests.workflows.hostile import Hostile, call, code
from tests.workflows.samples import Counter, Nap, Parent, Poker
from tests.workflows.scripts.scripts import Burn, nap
from tests.workflows.start.samples import Aura, Duel, Smelter
from tests.workflows.tasks.mail import Mail
from workflows import BUILT_IN, Handler, NoPayload, Payload, Workflow, WorkflowEngine
from workflows.groups.verbs import VERBS


class Doze(Nap):
    """The handler; the script has its name."""

    name = "doze"


class Coins(Payload):
    """An amount."""

    amount: int


class PurseState(msgspec.Struct):
    """What is in it."""

    coins: int = 0


class Purse(Handler[PurseState]):
    """Answers: an update that may be refused, and a query."""

    name = "purse"
    signals = {"finish": NoPayload}
    updates = {"deposit": Coins}
    queries = {"coins": None}

    def on_start(self, w: Workflow[PurseState], payload: NoPayload) -> None:
        w.step = "open"

    def on_finish(self, w: Workflow[PurseState], payload: NoPayload) -> None:
        w.complete()

    def validate_deposit(self, w: Workflow[PurseState], payload: Coins) -> None:
        if not 0 < payload.amount < 1_000:
            raise SenderError("sender_error", "not so much")

    def update_deposit(self, w: Workflow[PurseState], payload: Coins) -> int:
        w.state.coins += payload.amount
        return w.state.coins

    def query_coins(self, w: Workflow[PurseState], payload: NoPayload) -> int:
        return w.state.coins


def make_engine() -> WorkflowEngine:
    """All the types, with the audit on and a scheduled command."""
    engine = WorkflowEngine(TYPES, audit=True, attributes={"zone": int})
    engine.command("chime")(lambda ctx, data: None)
    return engine


TYPES: tuple[Any, ...] = (
    *BUILT_IN, Counter, Doze, Purse, Parent, Poker, Stubborn, Parked, Burn, nap, Mail, Waiter, Duel, Aura, Smelter,
)  # fmt: skip
STARTER, STRANGER = "a" * 32, "b" * 32

STARTS: tuple[tuple[str, Any], ...] = (
    ("counter", {}), ("purse", {}), ("burn", {"duration_us": 3_000_000}), ("nap", {}), ("doze", {"delay_us": 900_000}),
    ("mail", {"letters": 2}), ("waiter", {"lasting": True}), ("waiter", {}), ("duel", {"delay_us": 2_000_000}),
    ("aura", {"delay_us": 1_000_000, "slot": "x"}), ("smelter", {"delay_us": 700_000}),
    ("parent", {"child": "doze", "payload": {"delay_us": 500_000}}), ("stubborn", {"timers": {"boom": 400_000}}),
    ("parked", {"timers": {"boom": 400_000, "wake": 900_000}}), ("respawn", {"delay_us": 1_500_000}),
)  # fmt: skip
PAYLOADS: list[Any] = [payload for _, payload in STARTS]
PAYLOADS += [{"word": "boom"}, {"peer": 1, "times": 2}, {"count": 2}, {"add": ["hot"]}, *[None, 1, {"amount": 3}] * 5]
"""What a signal, an update, a start or a group may take."""


_TABLE_OF = {"task": "task", "event": "event"}
_NAMES_OF: dict[str, list[Any]] = {
    "schedule": ["every"], "update": ["deposit"], "query": ["coins"], "event": ["rain"], "command": ["chime"],
    "rename": ["counter-1", "named"],
}  # fmt: skip


class World:
    """A rig with the owner and two clients, and what they know of it."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.tokens = ["nobody's"]
        self.connect()

    def connect(self) -> None:
        """Three connections."""
        self.clients = [self.rig.connect(), self.rig.connect(STARTER), self.rig.connect(STRANGER)]

    def known(self, door: str = "") -> dict[str, list[Any]]:
        """Values that mean something now to that door, by the name of the parameter they may be given to."""
        rows = self.rig.rows
        ids: list[Any] = [row.id for row in rows(_TABLE_OF.get(door.split("_")[0], "workflow"))][-5:] or [1]
        if door.startswith("workflow_group_"):
            ids = [row.id for row in rows("workflow_group_operation")][-4:] or [1]
        names: list[Any] = next(
            (found for part, found in _NAMES_OF.items() if part in door), ["finish", "add", "stack"]
        )
        return {
            "id": ids * 3 + ["counter-1"], "ids": [ids], "update_id": ["u1", None],
            "type": [name for name, _ in STARTS], "name": names,
            "subscription_id": [row.id for row in rows("event_subscription")] or [1], "queue": ["mail", "parcels"],
            "workflow_type": ["counter", "duel"], "payload": PAYLOADS, "start_payload": PAYLOADS, "signal": names,
            "token": [*self.tokens[-2:], "w"], "owner": ["w"], "verb": list(VERBS),
            "lease_us": [1_000_000], "entity_id": [1, 2, None],
            "correlation_id": ["raid", None], "reason": ["at random"], "limit": [1, 5, 100], "signal_id": ["s1", "s2"],
            "request_id": ["r1", "r2", None], "zone": [3], "tag": ["hot"], "tags": [["hot"]], "add": [["hot"]],
            "attributes": [{"zone": 3}], "days": [0, 1, 0.5], "spec": [{"intervals": ["PT1S"]}], "slots": [2, 0],
            "intervals": [["PT1S", "PT1H"]], "cron": [["* * * * *"]], "key": [""], "count": [3], "paused": [None, "so"],
        }  # fmt: skip

    def legit(self, random: Random) -> None:
        """Something that somebody might mean."""
        kind = random.randrange(10)
        client = random.choice(self.clients)
        if kind < 4:
            name, payload = random.choice(STARTS)
            call(client, "workflow_start", [name, random.choice((1, 2, None)), random.choice(("raid", None)), payload])
        elif kind == 4:
            self.rig.advance(random.choice((100_000, 600_000, 2_500_000)))
        elif kind == 5:
            answer = call(self.clients[2], "task_claim", ["mail", 1, 2_000_000])
            self.tokens += [task["token"] for task in answer.get("ok", ())]
            call(self.clients[2], "event_claim_first", ["rain", "", "w", "w", 5_000_000])
        elif kind == 6:
            call(client, "event_publish", ["rain", "", random.choice(("stop", "crash", 1))])
        elif kind == 7:
            settings = {"workflow_type": "doze", "payload": {"delay_us": 700_000}, "overlap": "buffer_all"}
            call(self.clients[0], "schedule_create", ["every", {"intervals": ["PT1S"]}, settings])
        else:
            verb = random.choice(("suspend", "resume", "retry", "skip", "terminate", "tag", "signal"))
            payload = {"add": ["hot"], "attributes": {"zone": 3}} if verb == "tag" else {"word": "boom"}
            asked = [verb, {"entity_id": 1}, None, None, "at random", "say", payload]
            call(self.clients[0], "workflow_group", asked)

    def hostile(self, random: Random) -> None:
        """A call that nobody means, and what must be true of its answer."""
        module = self.rig.module
        doors: list[Any] = [*module.reducers.values(), *module.reports.values()]
        door = doors[random.randrange(len(doors))]
        args = Hostile(random, self.known(door.name)).arguments(door.function)
        answer = call(random.choice((self.clients[0], *self.clients)), door.name, args)
        assert code(answer) not in ("internal", "bad_result", "budget_exceeded"), (door.name, args, answer)
        if door.name == "workflow_group" and "ok" in answer:
            failed = [each for each in answer["ok"].get("results", ()) if each["outcome"] == "failed"]
            assert not failed, (args, failed)
