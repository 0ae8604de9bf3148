"""The arena's server side: zones, monsters and players, and what the five workflow types do to them.

Nothing here runs on a tick. A fight is a ``combat`` workflow whose turn timer makes the blows; poison and blessing are
``buff`` workflows; the dead come back by ``respawn``; guards walk by ``npc_patrol``; swords are made by ``production``.
"""

from __future__ import annotations

from typing import Any

from reactor import Context, Module, SenderError, primary_key, seconds
from workflows import Buff, Combat, NpcPatrol, Production, Respawn, Workflow, WorkflowEngine
from workflows.types.buff import BuffState
from workflows.types.combat import Act, CombatState
from workflows.types.npc_patrol import PatrolState
from workflows.types.production import Job, ProductionState
from workflows.types.respawn import RespawnState

MONSTERS = (("rat", 30), ("wolf", 60), ("troll", 150))
MONSTERS_PER_ZONE = 4
PLAYERS_FROM = 1_001
PLAYER_HP = 120
ZONES = {1: "The Pit", 2: "The Gallery"}


class ArenaPatrol(NpcPatrol):
    """Guards; where they are is in their workflow's row."""

    def on_arrived(self, w: Workflow[PatrolState], place: str) -> None:
        """Nothing but the row itself, which whoever watches the zone sees change."""


class ArenaCombat(Combat):
    """A blow per turn, struck by the turn's own deadline unless the player was quicker."""

    def on_action(self, w: Workflow[CombatState], action: Act, is_default: bool) -> None:
        """The one whose turn it is strikes the first living opponent."""
        side = next(f.side for f in w.state.fighters if f.entity == action.actor)
        target = next((f.entity for f in w.state.fighters if f.side != side and not f.is_dead), None)
        if target is None:
            return
        sharp = 2 if action.action == "strike hard" else 1
        if wound(w.ctx, target, w.random.randint(5, 15) * sharp):
            w.workflows.signal(w.id, "death", entity=target)
        elif action.actor < PLAYERS_FROM and w.random.random() < 0.15:
            w.workflows.start("buff", entity_id=target, effect="poison", **_lasting(6), tick_us=seconds(1))


class ArenaBuff(Buff):
    """Poison hurts and a blessing heals, once a tick."""

    def on_tick(self, w: Workflow[BuffState], timer: Any) -> None:
        """Three points a tick and stack."""
        amount = 3 * w.state.stacks
        if w.entity_id is None:
            return
        if w.state.effect == "poison":
            wound(w.ctx, w.entity_id, amount)
        else:
            heal(w.ctx, w.entity_id, amount)


class ArenaRespawn(Respawn):
    """The dead stand up again, whole."""

    def on_respawn(self, w: Workflow[RespawnState]) -> None:
        """Back with all hit points."""
        table = w.db.player if (w.entity_id or 0) >= PLAYERS_FROM else w.db.monster
        being = table.get(w.entity_id)
        if being is not None:
            table.update(being, hp=being.max_hp)


class ArenaProduction(Production):
    """A forge that belongs to a player."""

    def on_produced(self, w: Workflow[ProductionState], job: Job) -> None:
        """One more sword."""
        owner = w.db.player.get(w.entity_id)
        if owner is not None:
            w.db.player.update(owner, swords=owner.swords + 1)


engine = WorkflowEngine(types=[ArenaPatrol, ArenaCombat, ArenaBuff, ArenaRespawn, ArenaProduction])
arena = module = Module("arena", includes=[engine])


@arena.table(public=True)
class Zone:
    """A part of the arena; each has its own game server."""

    id: int = primary_key()
    name: str


@arena.table(public=True, indexes=["zone"])
class Monster:
    """A monster; dead while its hit points are 0."""

    id: int = primary_key(auto=True)
    name: str
    zone: int
    hp: int
    max_hp: int


@arena.table(public=True, indexes=["zone"], unique=["name"])
class Player:
    """A player; dead while the hit points are 0."""

    id: int = primary_key(auto=True)
    name: str
    zone: int
    hp: int = PLAYER_HP
    max_hp: int = PLAYER_HP
    kills: int = 0
    swords: int = 0


@arena.init
def build(ctx: Context) -> None:
    """Zones, monsters, and a guard in each zone."""
    for zone, name in ZONES.items():
        ctx.db.zone.insert(id=zone, name=name)
        for number in range(MONSTERS_PER_ZONE):
            kind, hp = MONSTERS[number % len(MONSTERS)]
            monster = ctx.db.monster.insert(name=kind, zone=zone, hp=hp, max_hp=hp)
            if kind == "troll":
                path = [{"place": place, "travel_us": seconds(3), "wait_us": seconds(2)} for place in ("gate", "well")]
                ctx.workflows.start("npc_patrol", entity_id=monster.id, correlation_id=f"zone-{zone}", waypoints=path)


@arena.reducer
def enter(ctx: Context, name: str, zone: int) -> int:
    """Come into the arena, or back to it; returns the player's id."""
    ctx.db.zone.require(zone)
    player = ctx.db.player.first(name=name)
    if player is not None:
        return int(player.id)
    number = max(PLAYERS_FROM, max(ctx.db.player.rows, default=0) + 1)
    return int(ctx.db.player.insert(id=number, name=name, zone=zone).id)


@arena.reducer
def fight(ctx: Context, player_id: int, monster_id: int) -> int:
    """Begin a fight, or join the one the monster is in; returns its workflow id."""
    player, monster = ctx.db.player.require(player_id), ctx.db.monster.require(monster_id)
    if not player.hp or not monster.hp:
        raise SenderError("sender_error", "the dead do not fight")
    if player.zone != monster.zone:
        raise SenderError("sender_error", f"{monster.name} {monster_id} is in another zone")
    for row in ctx.workflows.find("combat", entity_id=monster_id):
        ctx.workflows.signal(row.id, "join", entity=player_id, side=1)
        return int(row.id)
    fighters = [{"entity": player_id, "side": 1}, {"entity": monster_id, "side": 2}]
    started: int = ctx.workflows.start(
        "combat",
        entity_id=monster_id,
        correlation_id=f"zone-{monster.zone}",
        participants=fighters,
        turn_us=seconds(0.7),
        leash_us=seconds(60),
        default_action="strike",
    )
    return started


@arena.reducer
def bless(ctx: Context, player_id: int) -> int:
    """A blessing that heals for ten seconds; another one stacks."""
    player = ctx.db.player.require(player_id)
    for row in ctx.workflows.find("buff", entity_id=player.id):
        if '"blessing"' in row.state:
            ctx.workflows.signal(row.id, "stack")
            return int(row.id)
    started: int = ctx.workflows.start(
        "buff", entity_id=player.id, effect="blessing", **_lasting(10), tick_us=seconds(2), max_stacks=3
    )
    return started


@arena.reducer
def forge(ctx: Context, player_id: int, swords: int = 1) -> int:
    """Order swords."""
    player = ctx.db.player.require(player_id)
    steps = [{"name": "heat", "duration_us": seconds(3)}, {"name": "hammer", "duration_us": seconds(4)}]
    started: int = ctx.workflows.start(
        "production", entity_id=player.id, jobs=[{"recipe": "sword", "steps": steps, "runs": swords, "cost": 10}]
    )
    return started


def _lasting(duration_s: float) -> dict[str, Any]:
    return {"duration_us": seconds(duration_s)}


def heal(ctx: Context, entity_id: int, amount: int) -> None:
    """Give a living player hit points back."""
    player = ctx.db.player.get(entity_id)
    if player is not None and player.hp:
        ctx.db.player.update(player, hp=min(player.max_hp, player.hp + amount))


def wound(ctx: Context, entity_id: int, amount: int) -> bool:
    """Take hit points; whoever has none left dies, loses every buff and waits for the respawn. True if it died now."""
    table = ctx.db.player if entity_id >= PLAYERS_FROM else ctx.db.monster
    being = table.get(entity_id)
    if being is None or not being.hp:
        return False
    left = max(0, being.hp - amount)
    table.update(being, hp=left)
    if left:
        return False
    for row in ctx.workflows.find("buff", entity_id=entity_id):
        ctx.workflows.signal(row.id, "entity_death")
    for row in ctx.workflows.find("combat", correlation_id=f"zone-{being.zone}"):
        _reward(ctx, row, entity_id)
    ctx.workflows.start("respawn", entity_id=entity_id, delay_us=seconds(5), delay_max_us=seconds(12))
    return True


def _reward(ctx: Context, fight_row: Any, dead: int) -> None:
    """The players of the fight in which a monster died have a kill more."""
    if fight_row.entity_id != dead:
        return
    for player in ctx.db.player:
        if f'"entity":{player.id},' in fight_row.state:
            ctx.db.player.update(player, kills=player.kills + 1)
