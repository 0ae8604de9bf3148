"""``reactor.errors``: stable codes, and answers that always leave."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest

import reactor
from reactor.errors import CODES, ConstraintError, Fault, InvariantError, ReactorError, Refusal, SenderError, invariant
from reactor.errors import refuse as refuse_sender

ROOT = Path(reactor.__file__).parent.parent


def test_a48_senders_mistakes_and_our_faults_are_different_kinds() -> None:
    """A48: a caller can tell whether to mend the request or to tell us."""
    assert issubclass(ConstraintError, SenderError)
    assert issubclass(Refusal, Fault)
    assert not issubclass(SenderError, Fault)
    assert not issubclass(Fault, SenderError)


def test_codes_and_statuses() -> None:
    """Every code has a status of its family and a sentence."""
    for code, (status, sentence) in CODES.items():
        assert re.fullmatch(r"[a-z_]+", code)
        assert 400 <= status < 600
        assert sentence.endswith(".")
    assert SenderError("not_found", "no").http_status == 404
    with pytest.raises(InvariantError):
        ReactorError("no_such_code", "x")


def test_every_code_is_used() -> None:
    """A code that nothing raises is a promise nobody keeps; `unknown_*` of workflows count too."""
    source = "".join(
        path.read_text()
        for folder in ("reactor", "workflows", "client")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "errors.py"
    )
    unused = [code for code in CODES if f'"{code}"' not in source]
    # `sender_error` is for modules to raise; the module guide shows how.
    assert set(unused) <= {"sender_error"} | _WORKFLOW_CODES


# Raised by the workflow engine, which is a module like any other.
_WORKFLOW_CODES = {"unknown_type", "unknown_workflow", "unknown_signal", "not_active", "unregistered_types"}


def test_json_of_an_error_carries_its_details() -> None:
    """Code, sentence and details are one object."""
    error = SenderError("bad_value", "no", table="monster", value=[1])
    assert error.to_json() == {"code": "bad_value", "message": "no", "table": "monster", "value": [1]}


@pytest.mark.parametrize("value", ["\ud800", {1: 2}, object(), {"a": {1, 2}}, 1 << 70, [["\udfff"]]])
def test_p7_whatever_a_module_puts_into_an_error_can_be_sent(value: object) -> None:
    """P7: an answer must leave, also when its details are no JSON."""
    told = SenderError("sender_error", "text \ud800", detail=value, fine=1).to_json()
    assert orjson.loads(orjson.dumps(told))["fine"] == 1
    assert told["message"] == "text \\ud800"


def test_refuse_and_invariant() -> None:
    """``refuse`` raises the sender's error, ``invariant`` survives ``python -O``."""
    with pytest.raises(SenderError, match="no such") as caught:
        refuse_sender("not_found", "no such row", table="t")
    assert caught.value.details == {"table": "t"}
    invariant(1, "fine")
    with pytest.raises(InvariantError, match="broken"):
        invariant([], "broken")
