"""Declarations of workflow types: what they become, and which are refused, with the reason."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
import pytest

from reactor import CatchUp, Refusal
from tests.workflows.samples import Counter, CounterState, Nap, Parent
from workflows import BUILT_IN, Buff, Handler, NoPayload, Payload, Timer, Workflow
from workflows.definition import Definition
from workflows.types.buff import BuffState
from workflows.versions.migrations import StateError


class State(msgspec.Struct):
    n: int = 0


class Frozen(msgspec.Struct, frozen=True):
    n: int = 0


class Base(Handler[State]):
    name = "base"

    def on_start(self, w: Workflow[State], payload: NoPayload) -> None:
        """Nothing."""


def derived(**members: Any) -> Any:
    return type("Derived", (Base,), {"__module__": __name__, **members})


class LongerState(BuffState):
    extra: int = 0


class LongerBuff(Buff, Handler[LongerState]):
    pass


class Bare(Handler):  # type: ignore[type-arg]
    name = "bare"


class Odd(Handler[int]):
    name = "odd"


class Ice(Handler[Frozen]):
    name = "ice"


class Mute(Handler[State]):
    name = "mute"


T = TypeVar("T")


class Middle(Handler[T], Generic[T]):
    name = "middle"

    def on_start(self, w: Workflow[T], payload: NoPayload) -> None:
        """Nothing."""


class Concrete(Middle[State]):
    pass


class Stateless(Handler[None]):
    name = "stateless"

    def on_start(self, w: Workflow[None], payload: NoPayload) -> None:
        """Nothing."""


def test_what_a_declaration_becomes() -> None:
    """Names, signals and the state's codec, ready to run."""
    made = Definition(Counter)
    assert made.name == "counter"
    assert list(made.signals) == ["add", "finish", "reject", "crash", "grow"]
    assert made.waits == "add,crash,finish,grow,reject"
    state = CounterState(3, ["a"])
    assert made.encode_state(state) == '{"total":3,"log":["a"]}'
    assert made.decode_state(made.encode_state(state)) == state
    with pytest.raises(StateError, match=r"the stored state of counter cannot be read: .*total"):
        made.decode_state('{"total":"x"}')


def test_a_type_without_signals_waits_for_none() -> None:
    """A70: such a type refuses every signal."""
    assert Definition(Nap).waits is None
    assert Definition(Parent).waits is None


def test_a_default_state_is_made_only_where_every_field_has_a_default() -> None:
    """``on_start`` may leave such a state as it is."""
    assert Definition(Base).new_state is State
    assert Definition(Counter).new_state is None
    stateless = Definition(Stateless).new_state
    assert stateless is not None and stateless() is None


def test_the_state_is_found_through_bases() -> None:
    """A game derives from a built-in type, with the same state or a longer one, or through a generic base."""
    assert isinstance(Definition(LongerBuff).decode_state('{"effect":"","stacks":1,"max_stacks":1}'), LongerState)
    assert Definition(Concrete).new_state is State


@pytest.mark.parametrize("handler", BUILT_IN)
def test_the_built_in_types_are_declared_rightly(handler: Any) -> None:
    """They go through the same checks."""
    made = Definition(handler)
    assert made.timers is not None
    assert made.catch_up is CatchUp.FIRE_ALL


async def waits(self: Any, w: Any, timer: Timer) -> None:
    """Async."""


def no_payload(self: Any, w: Any) -> None:
    """One parameter."""


def untyped(self: Any, w, payload) -> None:  # type: ignore[no-untyped-def]
    """No types."""


def number(self: Any, w: Any, payload: int) -> None:
    """Not a struct."""


def takes_state(self: Any, w: Any, payload: State) -> None:
    """The wrong struct."""


def needs(self: Any, argument: int) -> None:
    """Made with an argument."""


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (derived(name=""), "'' is not a usable name"),
        (derived(name="Npc Patrol"), "is not a usable name"),
        (derived(clock=""), "clock: a name is wanted"),
        (derived(on_timer=waits), "on_timer is async; a step runs whole"),
        (derived(on_start=no_payload), r"on_start: it takes \(self, w, payload\)"),
        (derived(on_start=untyped), "parameter payload needs a type"),
        (derived(on_start=number), "its payload is declared as <class 'int'>"),
        (derived(__init__=needs), "is made without arguments"),
        (derived(signals={"stack": NoPayload}), r"signal stack: it needs a method on_stack\(self, w, payload\)"),
        (derived(signals={"start": NoPayload}), "on_start has another meaning"),
        (derived(signals={"Up": NoPayload}), "'Up' is not a usable name"),
        (derived(signals={"up": int}, on_up=takes_state), "its payload is declared as <class 'int'>"),
        (derived(signals={"up": NoPayload}, on_up=takes_state), "on_up takes State but NoPayload is declared"),
        (Bare, "it declares no state"),
        (Odd, "is not a msgspec.Struct"),
        (Ice, "its state Frozen is frozen"),
        (Mute, r"it needs a method on_start\(self, w, payload\)"),
    ],
)
def test_wrong_declarations_are_refused_with_the_reason(wrong: Any, reason: str) -> None:
    """Wrong declarations are refused when declared, with the reason."""
    with pytest.raises(Refusal, match=reason) as caught:
        Definition(wrong)
    assert caught.value.code == "bad_declaration"


class OpenState(msgspec.Struct):
    value: object


class Unstorable(Payload):
    value: set[tuple[object, ...]] | frozenset[int]


def test_a_payload_that_cannot_be_decoded_is_refused() -> None:
    """The compiler of decoders says why."""
    wrong = derived(signals={"up": Unstorable}, on_up=lambda self, w, payload: None)
    with pytest.raises(Refusal, match="payload Unstorable cannot be decoded"):
        Definition(wrong)
