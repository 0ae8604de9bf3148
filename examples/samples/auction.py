"""An auction: updates answer the bidder at once, and what is not a better bid is refused before it is written."""

from __future__ import annotations

from typing import Any

from reactor.errors import SenderError
from workflows import NoPayload, Payload, seconds
from workflows.scripts import Run, Script


class AuctionStart(Payload):
    """The price to beat, the price that ends it, and how long it runs after the last bid."""

    reserve: int = 0
    buyout: int = 1_000
    quiet_us: int = seconds(60)


class Bid(Payload):
    """An offer."""

    bidder: int
    gold: int


class Auction(Script):
    """See the module."""

    name = "auction"
    clock = "wall"
    updates = {"bid": Bid}
    queries = {"leader": NoPayload}

    def __init__(self) -> None:
        self.best: Bid | None = None
        self.count = self.seen = 0
        self.reserve = 0

    async def run(self, w: Run, start: AuctionStart) -> dict[str, Any]:
        """Each bid begins the quiet time again."""
        self.reserve = start.reserve
        while True:
            self.seen = self.count
            chosen = await w.select(
                sold=w.until(lambda: self.best is not None and self.best.gold >= start.buyout, key="buyout"),
                bid=w.until(lambda: self.count > self.seen, key="another bid"),
                over=w.sleep(start.quiet_us, name="quiet"),
            )
            if chosen.name != "bid":
                best = self.best
                return {"outcome": chosen.name, "winner": best and best.bidder, "gold": best and best.gold}

    def validate_bid(self, w: Run, bid: Bid) -> None:
        """A bid is better than the last."""
        least = self.reserve if self.best is None else self.best.gold + 1
        if bid.gold < least:
            raise SenderError("bad_value", f"offer {least} or more")

    def update_bid(self, w: Run, bid: Bid) -> int:
        """Take it; the reply is its number."""
        self.best = bid
        self.count += 1
        return self.count

    def query_leader(self, w: Run, payload: NoPayload) -> int | None:
        """Who leads."""
        return None if self.best is None else self.best.bidder
