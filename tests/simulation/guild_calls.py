"""What clients ask of the guild: one method for each kind of command, each drawing from the seed.

Commands that may be sent twice are kept, so that both clients send them again, also much later and after a crash.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.simulation.guild_client import GuildClient
from tests.simulation.machine import SECOND, Machine

STARTS = ("sink", "sink", "box", "job", "carrier", "trip", "bell", "stall")
CLEANED = ("spark", "duel", "smelter", "job")
"""Types whose ended workflows are removed: of these nothing is told that only their rows show."""
COLOURS = ("red", "blue")
TAGS = ("old", "new")


class Sent(NamedTuple):
    """A command as it was sent: by whom, what its answer is about, the reducer and its arguments."""

    client: GuildClient
    label: str
    reducer: str
    args: tuple[Any, ...]


class GuildCalls(Machine):
    """The commands to workflows, and those of workers. ``again`` are those that may be sent again, ``looked_at``
    the verbs and filters of previews."""

    def __init__(self, seed: int, flaw: Any = None, steps: int = 240) -> None:
        super().__init__(seed, flaw, steps)
        self.clients = [GuildClient(name) for name in ("a", "b")]
        self.tokens = 0
        self.again: dict[str, list[Sent]] = {}
        self.looked_at: list[tuple[str, dict[str, Any]]] = []

    def _token(self) -> str:
        self.tokens += 1
        return f"t{self.tokens}"

    def _client(self) -> GuildClient:
        return self.rng.choice(self.clients)

    def _call(self, label: str, reducer: str, *args: Any) -> None:
        self._client().call(label, reducer, *args)

    def _target(self, *kinds: str) -> tuple[int, str] | None:
        known = [found for client in self.clients for found in client.started[-16:] if not kinds or found[1] in kinds]
        return self.rng.choice(known[-12:]) if known else None

    def _once(self, label: str, reducer: str, *args: Any) -> None:
        """Send a command that may be sent again."""
        sent = Sent(self._client(), label, reducer, args)
        self.again.setdefault(reducer, []).append(sent)
        sent.client.call(label, reducer, *args)

    def send_again(self) -> None:
        """Send something that was sent before."""
        if self.again:
            kept = self.rng.choice(list(self.again.values()))
            first, label, reducer, args = self.rng.choice(kept[-10:])
            # An id of a group command is its sender's own; the others are everybody's.
            client = first if reducer == "workflow_group" else self._client()
            client.call(label, reducer, *args)

    # -- starts ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start something."""
        kind, token = self.rng.choice(STARTS), self._token()
        payload = {"token": "loud" if kind == "bell" else token} if kind in ("job", "carrier", "trip", "bell") else None
        self._call(kind, "workflow_start", kind, self.rng.randrange(4), self.rng.choice((None, *COLOURS)), payload)

    def start_with(self) -> None:
        """Start under rules, once, however often it is sent."""
        rng, token = self.rng, self._token()
        kind = rng.choice(("duel", "duel", "duel", "smelter", "smelter", "box", "stall"))
        options: dict[str, Any] = {
            "request_id": token,
            "attributes": {"request": token, "zone": rng.randrange(3)},
            "tags": rng.sample(TAGS, rng.randrange(3)),
        }
        self._add_rules(kind, options)
        for name, share in (("start_after_us", 0.15), ("deadline_us", 0.15), ("chain_deadline_us", 0.1)):
            if rng.random() < share:
                options[name] = rng.randint(1, 8) * SECOND
        payload = None
        if kind in ("duel", "smelter"):
            payload = {"lasts_us": rng.randint(2, 20) * SECOND, "is_bad": rng.random() < 0.1}
        args = (kind, rng.choice((0, 0, 1)), rng.choice((None, *COLOURS)), payload, options)
        self._once(f"request {token} {kind}", "workflow_start_with", *args)

    def _add_rules(self, kind: str, options: dict[str, Any]) -> None:
        rng = self.rng
        if kind == "duel":
            if rng.random() < 0.8:
                options["on_conflict"] = rng.choice(("reject", "replace", "refresh", "join", "queue"))
            if rng.random() < 0.3:
                options["exclusive"] = "own"
        elif kind == "smelter":
            options["when_full"] = rng.choice(("refuse", "queue"))
        elif rng.random() < 0.5:
            options["name"] = f"{kind}/{rng.randrange(3)}"
            options["reuse"] = rng.choice(("reject", "start_new"))

    def signal_or_start(self) -> None:
        """Tell a box of a name of its own, or start it with that."""
        token = self._token()
        name = f"counter/{self.rng.randrange(4)}"
        options = {"name": name, "attributes": {"zone": 1}}
        args = ("box", "item", {"token": token}, None, 2, "blue", token, "refuse", True, options)
        self._once(f"item {token}", "workflow_signal_or_start", *args)

    # -- signals, updates, queries -----------------------------------------------------------

    def send(self) -> None:
        """Send items, and seldom a word to stop."""
        for _ in range(self.rng.randint(1, 4)):
            target = self._target("sink", "box")
            if target is None:
                return
            if self.rng.random() < 0.05:
                self._call("stop", "workflow_signal", target[0], "stop")
                continue
            token = self._token()
            args = (target[0], "item", {"token": token}, token)
            self._once(f"item {token} {target[0]}", "workflow_send", *args)

    def update(self) -> None:
        """Ask for a mark, or look."""
        target = self._target("box", "stall")
        if target is None:
            return
        if self.rng.random() < 0.3:
            self._call("look", "workflow_query", target[0], "count")
            return
        token = self._token()
        reducer = self.rng.choice(("workflow_update", "attempt_workflow_update"))
        args = (target[0], "mark", {"token": token}, token)
        self._once(f"update {token} {target[1]} {target[0]}", reducer, *args)

    def control(self) -> None:
        """Pause, resume, retry, skip, cancel, terminate."""
        target = self._target()
        if target is None:
            return
        verb = self.rng.choice(
            ("suspend", "suspend", "resume", "resume", "resume", "retry", "skip", "cancel", "terminate")
        )
        args = [] if verb in ("resume", "retry") else ["why not"]
        self._call(verb, f"workflow_{verb}", target[0], *args)

    def label(self) -> None:
        """Tags and attributes come and go."""
        target = self._target()
        if target is None:
            return
        if self.rng.random() < 0.5:
            self._call("tag", "workflow_tag", target[0], [self.rng.choice(TAGS)], [self.rng.choice(TAGS)])
        else:
            values = {"zone": self.rng.choice((None, 0, 1, 2)), "mood": self.rng.choice(("calm", None, True))}
            self._call("attributes", "workflow_set_attributes", target[0], values)

    # -- tasks -------------------------------------------------------------------------------

    def work(self) -> None:
        """A worker claims, or says something about a task it has, or had."""
        client = self._client()
        if not client.leases or self.rng.random() < 0.4:
            client.call("claim", "task_claim", "forge", self.rng.randint(1, 3), self.rng.choice((SECOND, 5 * SECOND)))
            return
        task_id, token = self.rng.choice(client.leases[-6:])
        what = self.rng.choice(("complete", "complete", "complete", "fail", "heartbeat", "release"))
        if what == "complete":
            client.call(f"complete {task_id} {token}", "task_complete", task_id, token, {"by": client.identity[0]})
        elif what == "fail":
            client.call("fail", "task_fail", task_id, token, "cracked")
        elif what == "heartbeat":
            client.call("heartbeat", "task_heartbeat", task_id, token, 3 * SECOND)
        else:
            client.call("release", "task_release", task_id, token)

    # -- the world ---------------------------------------------------------------------------

    def world(self) -> None:
        """The weather turns, a bell rings, the faulted are looked after, what has ended goes."""
        rng = self.rng
        what = rng.choice(("weather", "ring", "ring", "retry", "tick", "clean", "clean"))
        if what == "weather":
            self._call("weather", "turn_weather", rng.random() < 0.5)
        elif what == "ring":
            self._ring()
        elif what == "retry":
            self._call("retry all", "retry_all")
        elif what == "tick":
            self._call("tick", "workflow_tick")
        else:
            self._call("clean", "cleanup_old_workflows", rng.choice((0, 0.0001)), rng.choice(CLEANED))

    def _ring(self) -> None:
        key, data = self.rng.choice(("loud", "soft")), {"n": self.tokens}
        if self.rng.random() < 0.5:
            self._call("ring", "event_publish", "bell", key, data, None, self.rng.random() < 0.5)
        else:
            token = self._token()
            self._once(f"event {token}", "event_publish", "bell", key, data, None, True, token)

    def announce(self) -> None:
        """Have a command run, again and again under the same data."""
        label = f"command c{self.rng.randrange(6)}"
        data = {"token": label.split()[1]}
        self._call(label, "command_schedule", "announce", data, None, self.rng.randrange(5) * SECOND)

    # -- groups ------------------------------------------------------------------------------

    def group(self) -> None:
        """Something is done to many, sometimes exactly to those that were looked at before."""
        rng = self.rng
        verb = rng.choice(("suspend", "resume", "resume", "signal", "signal", "signal", "tag", "cancel", "delete"))
        where: dict[str, Any] = rng.choice(
            ({"correlation_id": rng.choice(COLOURS)}, {"tag": rng.choice(TAGS)}, {"attributes": {"zone": 1}})
        )
        if verb == "signal":
            where = rng.choice(({"type": "box"}, {**where, "type": "box"}))
        elif verb == "delete":
            where = {"type": list(CLEANED)}
        if verb == "delete" or rng.random() < 0.2:
            self._call(f"preview {len(self.looked_at)}", "workflow_group_preview", verb, where)
            self.looked_at.append((verb, where))
        else:
            self._order(verb, where, None)
        self._order_as_seen()

    def _order_as_seen(self) -> None:
        """Do what a preview showed, if its answer has come."""
        seen = len(self.looked_at) - self.rng.randint(1, 2)
        told = [told for client in self.clients for told in client.told.get(f"preview {seen}", ())]
        if told:
            verb, where = self.looked_at[seen]
            self._order(verb, where, told[0].answer["token"])

    def _order(self, verb: str, where: dict[str, Any], preview: str | None) -> None:
        token = self._token()
        name: str | None = None
        payload: Any = None
        if verb == "signal":
            name, payload = "hello", {"token": token}
        elif verb == "tag":
            payload = {"add": [self.rng.choice(TAGS)], "remove": [], "attributes": {"mood": "calm"}}
        self._once(f"group {token}", "workflow_group", verb, where, preview, token, "why not", name, payload)

    def stop_group(self) -> None:
        """What is left of a group command is left alone."""
        known = [row.id for row in self.table("workflow_group_operation") if row.status == "Running"]
        if known:
            self._call("stop group", "workflow_group_stop", self.rng.choice(known), "enough")
