"""The keynote-2 work: accounts, and a transfer that checks one balance and updates two."""

from __future__ import annotations

from reactor import Context, Module, SenderError, primary_key

ACCOUNTS = 100_000
OPENING_BALANCE = 1_000_000

bank = module = Module("bank")


@bank.table(public=True)
class Account:
    """One account."""

    id: int = primary_key()
    balance: int


@bank.table(public=True)
class Branch:
    """Something else to subscribe to, which no transfer changes."""

    id: int = primary_key()
    open: bool


@bank.init
def open_accounts(ctx: Context) -> None:
    """Fill the tables."""
    for number in range(ACCOUNTS):
        ctx.db.account.insert(id=number, balance=OPENING_BALANCE)
    for number in range(1_000):
        ctx.db.branch.insert(id=number, open=True)


@bank.reducer
def transfer(ctx: Context, source: int, target: int, amount: int) -> None:
    """Move ``amount`` from one account to another if it is there."""
    accounts = ctx.db.account
    payer = accounts.get(source)
    payee = accounts.get(target)
    if payer is None or payee is None or source == target:
        raise SenderError("sender_error", "no such pair of accounts")
    if payer.balance < amount:
        raise SenderError("sender_error", "the balance is too small")
    accounts.update(payer, balance=payer.balance - amount)
    accounts.update(payee, balance=payee.balance + amount)
