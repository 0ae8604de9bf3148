"""An ordered index: the best of all and of one realm, kept in order instead of sorted anew.

    reactor run examples/ordered.py
    reactor call score '["ada", "north", 120]'
    reactor call top '["north"]'

``python -m examples.ordered`` plays it without a server.
"""

from __future__ import annotations

from reactor import Context, Module, index, primary_key
from reactor.testing import Rig

TOP = 3

module = Module("ranking")


@module.table(
    public=True,
    indexes=[index("points", ordered=True), index("realm", "points", ordered=True)],
)
class Player:
    """A player; ``unique`` columns would be refused a second time, ``indexes`` only make finding fast."""

    name: str = primary_key()
    realm: str
    points: int = 0


@module.reducer
def score(ctx: Context, name: str, realm: str, points: int) -> int:
    """Add points; the indexes follow by themselves. Returns the rank in the realm, from 1."""
    player = ctx.db.player.get(name) or ctx.db.player.insert(name=name, realm=realm)
    player = ctx.db.player.update(player, points=player.points + points)
    better = ctx.db.player.range("points", low=player.points, include=(False, True), realm=player.realm)
    return 1 + sum(1 for _ in better)


@module.reducer
def top(ctx: Context, realm: str | None = None) -> list[tuple[str, int]]:
    """The best, best first. A range walks the last column it names; the columns before it are equal to a value."""
    players = ctx.db.player
    if realm is None:
        best = players.range("points", reverse=True, limit=TOP)
    else:
        best = players.range("points", reverse=True, limit=TOP, realm=realm)
    return [(player.name, player.points) for player in best]


def main() -> None:
    """A few scores, and three ways to ask."""
    with Rig(module) as rig:
        for name, realm, points in (
            ("ada", "north", 120),
            ("brandt", "south", 80),
            ("cleo", "north", 60),
            ("dario", "south", 140),
            ("elin", "north", 90),
        ):
            print(f"{name} is number {rig.call('score', name, realm, points)} in the {realm}")
        print("of all:", rig.call("top"))
        print("of the north:", rig.call("top", "north"))
        print("by SQL:", rig.sql("SELECT name FROM player WHERE points > 100 ORDER BY points DESC"))


if __name__ == "__main__":
    main()
