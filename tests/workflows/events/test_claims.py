"""Claims of subscriptions: one winner, for as long as it lasts."""

from __future__ import annotations

from typing import Any

import pytest

from reactor import SenderError, seconds
from tests.workflows.conftest import MakeRig
from tests.workflows.events.support import Waiter, seen

LEASE = seconds(30)


def test_one_of_fifty_wins(make_rig: MakeRig) -> None:
    """E16: compare and set; release needs the same token; unknown is ``not_found``."""
    rig = make_rig(Waiter)
    rig.start("waiter", payload={})
    won = [rig.call("event_claim", 1, f"token-{at}", f"worker-{at}", LEASE) for at in range(50)]
    assert won == [True] + [False] * 49
    assert not rig.call("event_release", 1, "token-1")
    assert rig.call("event_release", 1, "token-0")
    assert rig.call("event_claim", 1, "token-1", "worker-1", LEASE)
    for reducer, args in (
        ("event_claim", (9, "t", "w", LEASE)),
        ("event_release", (9, "t")),
        ("event_answer", (9, "t")),
    ):
        with pytest.raises(SenderError) as caught:
            rig.call(reducer, *args)
        assert caught.value.code == "not_found"


def test_a_claim_that_is_over_can_be_had(make_rig: MakeRig) -> None:
    """E17: exactly at its end, after a crash; who had it can neither answer nor release."""
    rig = make_rig(Waiter)
    rig.start("waiter", payload={})
    assert rig.call("event_claim", 1, "first", "worker-1", LEASE)
    rig.advance(LEASE - 1)
    assert not rig.call("event_claim", 1, "second", "worker-2", LEASE)
    rig.crash()
    rig.advance(1)
    rig.reopen()
    with pytest.raises(SenderError) as caught:
        rig.call("event_answer", 1, "first", "late")
    assert caught.value.code == "stale_lease"
    assert rig.call("event_claim", 1, "second", "worker-2", LEASE)
    assert not rig.call("event_release", 1, "first")
    assert not rig.call("event_claim", 1, "first", "worker-1", LEASE)


def test_the_holder_prolongs_its_claim(make_rig: MakeRig) -> None:
    """E16: with the same token, from now on."""
    rig = make_rig(Waiter)
    rig.start("waiter", payload={})
    rig.call("event_claim", 1, "first", "worker-1", LEASE)
    rig.advance(LEASE // 2)
    assert rig.call("event_claim", 1, "first", "worker-1", LEASE)
    rig.advance(LEASE // 2)
    assert not rig.call("event_claim", 1, "second", "worker-2", LEASE)


def test_the_first_open_one_is_claimed(make_rig: MakeRig) -> None:
    """E18: claimed ones are skipped until their time is over."""
    rig = make_rig(Waiter)
    ids = [rig.start("waiter", payload={"key": "k"}) for _ in range(2)]

    def claim(token: str) -> Any:
        found = rig.call("event_claim_first", "rain", "k", token, "w", LEASE)
        return None if found is None else found["workflow_id"]

    assert [claim("a"), claim("b"), claim("c")] == [*ids, None]
    assert rig.call("event_claim_first", "rain", "other", "d", "w", LEASE) is None
    rig.advance(LEASE)
    assert claim("e") == ids[0]


def test_the_holder_answers_for_one_workflow(make_rig: MakeRig) -> None:
    """E16: the data goes to that one alone, once."""
    rig = make_rig(Waiter)
    one, two = (rig.start("waiter", payload={}) for _ in range(2))
    rig.call("event_claim", 1, "mine", "w", LEASE)
    with pytest.raises(SenderError):
        rig.call("event_answer", 1, "another's", "x")
    assert rig.call("event_answer", 1, "mine", "x") is True
    assert (seen(rig, one), seen(rig, two)) == (["x"], [])
    with pytest.raises(SenderError) as caught:
        rig.call("event_answer", 1, "mine", "x")
    assert caught.value.code == "not_found"


def test_an_event_reaches_claimed_ones_too(make_rig: MakeRig) -> None:
    """E15: a claim keeps other claimers away, not the event."""
    rig = make_rig(Waiter)
    one = rig.start("waiter", payload={})
    rig.call("event_claim", 1, "mine", "w", LEASE)
    rig.call("event_publish", "rain", "", "x")
    assert seen(rig, one) == ["x"]


@pytest.mark.parametrize(("token", "lease_us"), [("", LEASE), ("x", 0), ("x", -1)])
def test_a_claim_needs_a_token_and_a_time(make_rig: MakeRig, token: str, lease_us: int) -> None:
    """E16."""
    rig = make_rig(Waiter)
    rig.start("waiter", payload={})
    with pytest.raises(SenderError) as caught:
        rig.call("event_claim", 1, token, "w", lease_us)
    assert caught.value.code == "bad_arguments"


def test_tokens_are_not_for_everybody(make_rig: MakeRig) -> None:
    """E16: clients cannot read them."""
    with pytest.raises(SenderError):
        make_rig(Waiter).connect("a" * 32).watch("SELECT * FROM event_subscription")


@pytest.mark.parametrize(
    ("token", "owner", "lease_us"),
    [("t" * 129, "w", LEASE), ("t", "w" * 129, LEASE), ("t", "w", 7 * 86_400_000_000 + 1)],
)
def test_a_claim_is_no_store_and_not_for_ever(make_rig: MakeRig, token: str, owner: str, lease_us: int) -> None:
    """E17: a token and an owner are short, a lease is a week at most."""
    rig = make_rig(Waiter)
    rig.start("waiter", payload={})
    with pytest.raises(SenderError) as refused:
        rig.call("event_claim", 1, token, owner, lease_us)
    assert refused.value.code == "bad_arguments"
