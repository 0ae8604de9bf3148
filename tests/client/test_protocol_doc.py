"""``docs/protocol.md`` says what the core does: its examples are played through one."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from client.core import ClientCore
from client.messages import (
    CLOSE_CODES,
    GOODBYE_CODES,
    SUBPROTOCOL,
    VERBS,
    CommitApplied,
    Complaint,
    Failure,
    Goodbye,
    Hello,
    Reply,
    Restored,
    SetApplied,
    SetClosed,
    decode,
)

DOC = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
EXAMPLES = [
    (match[1], json.loads(match[2])) for match in re.finditer(r"```json (client|server)\n(.*?)```", DOC, re.DOTALL)
]


def ask(core: ClientCore, message: dict[str, Any]) -> None:
    """Make the core send this message by calling the method of its verb."""
    if "resume" in message:
        return  # the core sends it by itself
    if "call" in message:
        core.call(message["call"], message.get("args", ()), message.get("key"))
    elif "batch" in message:
        core.batch([(call["call"], call["args"]) for call in message["batch"]])
    elif "subscribe" in message:
        core.subscribe(message["subscribe"])
    elif "unsubscribe" in message:
        core.unsubscribe(next(s.id for s in core._sets.values() if s.number == message["unsubscribe"]))
    elif "sql" in message:
        core.sql(message["sql"], message["params"])
    else:
        core.time(message["time"])


def test_examples_are_what_the_core_sends_and_takes() -> None:
    """Every client example is byte for byte what the core sends there, every server example is accepted."""
    core = ClientCore()
    core.connection_made()
    kinds: list[type[Any]] = []
    for side, message in EXAMPLES:
        if side == "client":
            ask(core, message)
            assert [json.loads(sent) for sent in core.bytes_to_send()] == [message]
        else:
            if "hello" in message and core.connected:
                core.connection_lost()
                core.connection_made()
            kinds += [type(event) for event in core.receive(json.dumps(message))]
    assert set(kinds) == {
        Hello,
        Reply,
        Failure,
        SetApplied,
        SetClosed,
        CommitApplied,
        Complaint,
        Goodbye,
        Restored,
    }
    assert core.unanswered == 0
    assert sorted(core.mirror.table("monster")) == [(7, 3, 2)]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_told(verb: str) -> None:
    """Each verb has a section and an example of both directions."""
    assert f"\n### `{verb}`" in DOC
    assert any(verb in message for side, message in EXAMPLES if side == "client")


@pytest.mark.parametrize("word", [*CLOSE_CODES, *GOODBYE_CODES, SUBPROTOCOL, *(field.name for field in fields(Hello))])
def test_every_code_and_member_is_told(word: object) -> None:
    """Each close code, goodbye code and member of the greeting is mentioned."""
    if word != "restoring":  # the client's own
        assert re.search(rf"\b{word}\b", DOC)


def test_close_codes_table_has_no_others() -> None:
    """The table lists the close codes the core knows, and those only."""
    assert [int(code) for code in re.findall(r"^\| (\d{4}) \|", DOC, re.MULTILINE)] == list(CLOSE_CODES)


def test_transcript_is_made_of_real_messages() -> None:
    """In the transcript every typed line is a message with one verb (or meant to be nonsense), every answer decodes."""
    transcript = DOC[DOC.index("```text") :]
    typed = re.findall(r"^> (.*)$", transcript, re.MULTILINE)
    for line in typed:
        assert line == "nonsense" or sum(verb in json.loads(line) for verb in VERBS) == 1
    answers = re.findall(r"^< (.*)$", transcript, re.MULTILINE)
    assert len(answers) > len(typed)
    for line in answers:
        decode(line)
