"""The built-in workflow types, one file each. A game derives its own from them and fills in the hooks."""

from __future__ import annotations

from typing import Any

from workflows.handler import Handler
from workflows.types.buff import Buff
from workflows.types.combat import Combat
from workflows.types.npc_patrol import NpcPatrol
from workflows.types.production import Production
from workflows.types.respawn import Respawn

BUILT_IN: tuple[type[Handler[Any]], ...] = (NpcPatrol, Combat, Buff, Respawn, Production)
"""In the order in which the start-up log names them."""

__all__ = ["BUILT_IN", "Buff", "Combat", "NpcPatrol", "Production", "Respawn"]
