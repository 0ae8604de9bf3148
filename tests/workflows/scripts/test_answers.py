"""Updates and queries of scripts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reactor.errors import SenderError
from tests.workflows.scripts.world import crash, make_rig
from workflows import NoPayload, Payload, seconds
from workflows.scripts import Run, Script


class Bid(Payload):
    """An offer."""

    who: str
    gold: int


class Auction(Script):
    """Open for a minute after the last bid, or until somebody pays the full price."""

    name = "auction"
    clock = "wall"
    updates = {"bid": Bid}
    queries = {"standing": NoPayload}

    def __init__(self) -> None:
        self.bids: list[Bid] = []
        self.seen = 0

    async def run(self, w: Run, payload: NoPayload) -> Any:
        """Wait for bids."""
        while True:
            self.seen = len(self.bids)
            chosen = await w.select(
                sold=w.until(lambda: bool(self.bids) and self.bids[-1].gold >= 100, key="full price"),
                more=w.until(lambda: len(self.bids) > self.seen, key="another bid"),
                late=w.sleep(seconds(60)),
            )
            if chosen.name != "more":
                return [chosen.name, [bid.gold for bid in self.bids]]

    def validate_bid(self, w: Run, bid: Bid) -> None:
        """A bid must be higher."""
        if self.bids and bid.gold <= self.bids[-1].gold:
            raise SenderError("bad_value", f"offer more than {self.bids[-1].gold}")

    def update_bid(self, w: Run, bid: Bid) -> int:
        """Take a bid."""
        if bid.gold == 13:
            self.bids.append(bid)
            raise ValueError("unlucky")
        self.bids.append(bid)
        return len(self.bids)

    def query_standing(self, w: Run, payload: NoPayload) -> list[str]:
        """Who leads."""
        return [bid.who for bid in self.bids]


def test_updates_are_part_of_the_record() -> None:
    """B49, D78, A61: each bid replies, survives crashes, and is done again at its place in a replay."""
    with make_rig(Auction) as rig:
        started = rig.call("workflow_start", "auction")
        assert rig.call("workflow_update", started, "bid", {"who": "a", "gold": 5}) == 1
        crash(rig)
        rig.advance(seconds(59))
        assert rig.call("workflow_update", started, "bid", {"who": "b", "gold": 7}) == 2
        crash(rig)
        rig.advance(seconds(59))
        assert rig.row("workflow", started).status == "Suspended"
        assert rig.call("workflow_query", started, "standing") == ["a", "b"]
        assert rig.call("workflow_update", started, "bid", {"who": "c", "gold": 100}) == 3
        assert json.loads(rig.row("workflow", started).result) == ["sold", [5, 7, 100]]
        crash(rig)
        assert rig.call("workflow_query", started, "standing") == ["a", "b", "c"]


def test_a_refused_update_leaves_no_row() -> None:
    """B49: the validator says no, and nothing is written; not even the script's own list."""
    with make_rig(Auction) as rig:
        started = rig.call("workflow_start", "auction")
        rig.call("workflow_update", started, "bid", {"who": "a", "gold": 5})
        rows = rig.rows("execution_pointer")
        with pytest.raises(SenderError, match="more than 5"):
            rig.call("workflow_update", started, "bid", {"who": "b", "gold": 5})
        assert rig.rows("execution_pointer") == rows


def test_a_failed_update_is_undone_in_the_script_too() -> None:
    """D78, A47: what it had put in the instance before it raised is not there any more; the run goes on."""
    with make_rig(Auction) as rig:
        started = rig.call("workflow_start", "auction")
        rig.call("workflow_update", started, "bid", {"who": "a", "gold": 5})
        with pytest.raises(Exception, match=r"unlucky|internal|failed"):
            rig.call("workflow_update", started, "bid", {"who": "b", "gold": 13})
        assert rig.call("workflow_query", started, "standing") == ["a"]
        assert rig.row("workflow", started).status == "Suspended"
        rig.advance(seconds(60))
        assert json.loads(rig.row("workflow", started).result) == ["late", [5]]


def test_a_query_of_a_cold_script_writes_nothing() -> None:
    """B49, C12: it is brought up from its record and asked; no commit is made."""
    with make_rig(Auction) as rig:
        started = rig.call("workflow_start", "auction")
        rig.call("workflow_update", started, "bid", {"who": "a", "gold": 5})
        crash(rig)
        before = rig.engine.seq
        assert rig.call("workflow_query", started, "standing") == ["a"]
        assert rig.engine.seq == before
