"""Who is there: hooks that run when clients come and go, and when a crash cut them off.

    reactor run examples/presence.py
    reactor subscribe "SELECT * FROM online"                # in several terminals: each sees the others come and go

``python -m examples.presence`` plays it without a server.
"""

from __future__ import annotations

from reactor import Context, Module, SenderError, Timestamp, primary_key
from reactor.testing import Rig

ADA, BRANDT, MALLORY = "a" * 32, "b" * 32, "c" * 32
CONNECTIONS_MAX = 2

module = Module("presence")


@module.table(public=True, indexes=["identity"])
class Online:
    """One row for each connection: the same identity may have several."""

    connection: str = primary_key()
    identity: str
    since: Timestamp


@module.table()
class Banned:
    """Not ``public``: only the owner sees it."""

    identity: str = primary_key()


@module.client_connected
def arrived(ctx: Context) -> None:
    """Runs as a call before anything else the client asks for. If it raises, the client is refused and told why."""
    if ctx.sender in ctx.db.banned:
        raise SenderError("forbidden", "you are banned")
    if ctx.db.online.count(identity=ctx.sender) >= CONNECTIONS_MAX:
        raise SenderError("limit_exceeded", f"{CONNECTIONS_MAX} connections are enough")
    ctx.db.online.insert(connection=ctx.connection_id, identity=ctx.sender, since=ctx.now)


@module.client_disconnected
def left(ctx: Context) -> None:
    """Runs once for everybody who was let in, however they left; after a crash, at the next start."""
    ctx.db.online.delete(ctx.connection_id)


@module.reducer(access="owner")
def ban(ctx: Context, identity: str) -> None:
    """Keep somebody out from now on."""
    ctx.db.banned.insert(identity=identity)


def main() -> None:
    """Ada and Brandt come, Mallory is not let in, Brandt leaves, and a crash cuts Ada off."""
    with Rig(module) as rig:
        rig.call("ban", MALLORY)
        watch = rig.subscribe("SELECT * FROM online")  # the owner's own connection is in it too
        rig.connect(ADA)
        brandt = rig.connect(BRANDT)
        mallory = rig.connect(MALLORY)
        print("mallory is told:", mallory.received[-1]["error"]["message"], mallory.closed)
        brandt.disconnect()
        print("the watcher saw:", [kind for kind, _ in watch.events], "and now knows", len(watch.rows))
        rig.crash()
        rig.reopen()
        print("after the crash:", rig.rows("online"))


if __name__ == "__main__":
    main()
