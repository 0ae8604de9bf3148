"""A live view that costs no messages: progress bars drawn from the rows of timers, at any rate you like.

    reactor run examples/live.py                            # the server: a bakery
    python -m examples.live                                 # the client, in another terminal: bakes and watches

Rows change only when plans change. In between, the client knows the server's time and does the arithmetic.
"""

from __future__ import annotations

import argparse
import asyncio

from client import Commit, elapsed_share
from client.aio import connect
from reactor import Context, Module, Timestamp, primary_key, seconds

module = Module("bakery")


@module.table(public=True, scheduled="take_out")
class Baking:
    """A loaf in the oven, and the timer that takes it out."""

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    put_in_at: Timestamp
    bread: str


@module.table(public=True)
class Shelf:
    """What is for sale."""

    bread: str = primary_key()
    loaves: int = 0


@module.reducer
def bake(ctx: Context, bread: str, for_us: int = seconds(5)) -> int:
    """Put a loaf into the oven."""
    return int(ctx.db.baking.insert(bread=bread, put_in_at=ctx.now, scheduled_at=ctx.now + for_us).scheduled_id)


@module.reducer
def take_out(ctx: Context, baking: Baking) -> None:
    """Run when a loaf is due; its row goes in the same commit."""
    shelf = ctx.db.shelf.get(baking.bread) or ctx.db.shelf.insert(bread=baking.bread)
    ctx.db.shelf.update(shelf, loaves=shelf.loaves + 1)


async def watch(url: str, for_us: int) -> tuple[int, int]:
    """Bake a loaf and draw it until it is out; returns how many pictures that took, and how many commits."""
    pictures = 0
    commits: list[Commit] = []
    async with connect(url, "bakery") as bakery:
        await bakery.subscribe(["SELECT * FROM baking", "SELECT * FROM shelf"])
        await bakery.time()  # the greeting told the server's time; asking once makes it exact
        bakery.on_commit(commits.append)
        mine = await bakery.call("bake", "rye", for_us)
        # After the answer the mirror shows what the call did, so the loaf is there until it is taken out.
        while (loaf := bakery.table("baking").get(mine)) is not None:
            # None: this timer runs on the wall's clock. For another, hand in its row of the table ``clock``.
            share = elapsed_share(loaf.put_in_at, loaf.scheduled_at, None, bakery.server_now_us())
            print(f"\r{loaf.bread} [{'#' * int(share * 40):40}]", end="", flush=True)
            pictures += 1
            await asyncio.sleep(0.05)
        print(f"\nout of the oven: {bakery.table('shelf').get('rye')}; {pictures} pictures, {len(commits)} commits")
    return pictures, len(commits)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("url", nargs="?", default="ws://127.0.0.1:3000")
    asyncio.run(watch(options.parse_args().url, seconds(5)))
