"""Request keys: a call that is sent twice happens once, and both senders get the same answer.

    reactor run examples/idempotent.py
    curl -d '["ada", "shield", 30]' -H 'Idempotency-Key: order-17' -H "Authorization: Bearer $TOKEN" \\
        http://127.0.0.1:3000/v1/database/shop/call/buy     # as often as you like; $TOKEN: any 32 characters of yours

``python -m examples.idempotent`` plays it, with a crash between the two. Give a key to every call that must not happen
twice: when the connection or the server is lost before the answer, sending the same again is all there is to do.
"""

from __future__ import annotations

from reactor import Context, Module, SenderError, primary_key
from reactor.testing import Rig

CUSTOMER = "c" * 32  # keys belong to the caller: the same key of somebody else is another one

module = Module("shop")


@module.table(public=True)
class Purse:
    """Everybody begins with 100 coins."""

    name: str = primary_key()
    coins: int = 100


@module.table(public=True, indexes=["name"])
class Purchase:
    """What was bought."""

    id: int = primary_key(auto=True)
    name: str
    item: str


@module.reducer
def buy(ctx: Context, name: str, item: str, price: int) -> int:
    """Pay and get the item; returns the purchase's number. It says nothing about keys: the reactor sees to them."""
    purse = ctx.db.purse.get(name) or ctx.db.purse.insert(name=name)
    if price < 0 or purse.coins < price:
        raise SenderError("sender_error", f"{name} has {purse.coins} coins, {item} costs {price}")
    ctx.db.purse.update(purse, coins=purse.coins - price)
    return int(ctx.db.purchase.insert(name=name, item=item).id)


def main() -> None:
    """The same order three times, once across a crash; then what else a key means."""
    with Rig(module) as rig:
        order = ("ada", "shield", 30)
        print("bought as", rig.call("buy", *order, sender=CUSTOMER, key="order-17"))
        print("bought as", rig.call("buy", *order, sender=CUSTOMER, key="order-17"))
        rig.crash()
        rig.reopen()
        print("bought as", rig.call("buy", *order, sender=CUSTOMER, key="order-17"))
        try:
            rig.call("buy", "ada", "sword", 30, sender=CUSTOMER, key="order-17")
        except SenderError as error:
            print(f"{error.code}: {error.message}")
        # Ids leave a gap after a crash; they never repeat.
        print("without a key it is another one:", rig.call("buy", *order, sender=CUSTOMER))
        print("coins left:", rig.row("purse", "ada").coins)


if __name__ == "__main__":
    main()
