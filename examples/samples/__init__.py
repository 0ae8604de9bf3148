"""Twelve scripts, one idea each: what the awaits of a script can do.

    reactor run examples/samples
    reactor call workflow_start '"countdown"' null null '{"count": 5}'
    reactor sql "SELECT * FROM note"

buff · countdown · conditional · family (parent and child) · patrol · production (pause and resume) · combat (turns with
a deadline) · respawn (cannot be interrupted) · day_night (one for the world) · auction · trade · quest
"""

from reactor import Module
from workflows import WorkflowEngine

from .auction import Auction
from .buff import stacking_buff
from .combat import duel
from .conditional import door
from .countdown import countdown
from .day_night import sky
from .family import raid, scout
from .notes import NOTE_SCHEMA
from .patrol import patrol, skirmish
from .production import workshop
from .quest import Quest
from .respawn import grave
from .trade import trade

TYPES = (
    stacking_buff, countdown, door, raid, scout, patrol, skirmish, workshop, duel, grave, sky, Auction, trade, Quest,
)  # fmt: skip


def make_samples() -> Module:
    """The samples as a module of their own."""
    made = Module("samples", includes=[WorkflowEngine(TYPES)])
    made.add_table(NOTE_SCHEMA)
    return made
