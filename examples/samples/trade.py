"""A trade: both sides accept in time, or what was put aside goes back, newest first."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from workflows import Payload, seconds
from workflows.scripts import Run, script

from .notes import note


class TradeStart(Payload):
    """The two sides."""

    left: int
    right: int
    within_us: int = seconds(60)


class Word(Payload):
    """What one side says."""

    who: int
    accept: bool = True


class TradeOffError(Exception):
    """It will not be."""


def give_back(ctx: Context, text: str) -> None:
    """Undo what was put aside."""
    note(ctx, f"back: {text}")


@script(clock="wall", signals={"word": Word})
async def trade(w: Run, start: TradeStart) -> dict[str, Any]:
    """Put both goods aside, wait for both words, hand over; any other way out gives them back."""
    try:
        async with w.saga() as saga:
            for side in (start.left, start.right):
                await saga.step(note, f"goods of {side}", undo=give_back, name=f"hold {side}")
            missing = {start.left, start.right}
            ends_at = w.now + start.within_us
            while missing:
                chosen = await w.select(word=w.signal("word"), late=w.sleep_until(ends_at, name="wait", clock="wall"))
                if chosen.name == "late":
                    raise TradeOffError("timeout")
                if not chosen.value.accept:
                    raise TradeOffError("refused")
                missing.discard(chosen.value.who)
            await w.step(note, "handed over")
    except TradeOffError as off:
        return {"outcome": str(off)}
    return {"outcome": "traded"}
