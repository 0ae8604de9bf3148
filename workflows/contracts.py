"""What a type's signals took when a workflow of it was started.

A deploy may change what a signal carries while workflows run that others were told to talk to in the old way. So each
time the signals of a type are declared otherwise, the new declaration is written down, with the first workflow id it is
for. A type with ``keeps_contract`` holds workflows to theirs: what they are sent must be what both the declaration they
were started under and the one of today take. For all others the declaration of today decides alone.

Nothing is stored with a workflow: which declaration it was started under follows from its id.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import orjson

from reactor.columns import Json, Timestamp
from reactor.context import Context
from reactor.errors import SenderError
from reactor.module import Module
from reactor.schema import declare_table, index, primary_key
from workflows.definition import Definition
from workflows.dispatch import Dispatcher
from workflows.parts import Part
from workflows.versions.fingerprint import declared_by, differences


class ContractRow:
    """What the signals of a type take, for workflows from ``first_id`` on; the row after it takes over from its own.

    ``signals`` has the shape of each payload as a JSON schema. ``changes`` says what differs from the one before.
    """

    id: int = primary_key(auto=True)
    workflow_type: str
    first_id: int
    signals: Json
    changes: str
    since: Timestamp


CONTRACT_SCHEMA = declare_table(
    ContractRow, name="workflow_contract", public=True, indexes=[index("workflow_type", "first_id", ordered=True)]
)


class Contracts(Part):
    """The declarations of signals, and the check of what is sent to workflows that were started under older ones."""

    schemas = (CONTRACT_SCHEMA,)

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self._kept: dict[str, int] = {}
        """By type: the first workflow id of its present contract, where there is an older one to be kept."""
        dispatcher.signalling.check_contract = self.check

    def declare(self, module: Module) -> None:
        """Look at every start and reload whether a declaration has changed."""
        module.on_start(self.note)
        module.on_reload(self.note)

    def note(self, ctx: Context) -> None:
        """Write down what the signals of the types take now."""
        self._kept.clear()
        for kind in self.dispatcher.registry:
            self._note(ctx, kind)

    def _note(self, ctx: Context, kind: Definition) -> None:
        table = ctx.db.workflow_contract
        signals = declared_by(kind)["signals"]
        last = next(table.range("first_id", workflow_type=kind.name, reverse=True, limit=1), None)
        if last is None:
            if signals:
                table.insert(workflow_type=kind.name, first_id=0, signals=signals, changes="", since=ctx.now)
            return
        if orjson.dumps(last.signals, option=orjson.OPT_SORT_KEYS) != orjson.dumps(
            signals, option=orjson.OPT_SORT_KEYS
        ):
            changes = "; ".join(differences({"signals": last.signals}, {"signals": signals}))
            first_id = ctx.db.workflow.reserve_id()
            last = table.insert(
                workflow_type=kind.name, first_id=first_id, signals=signals, changes=changes, since=ctx.now
            )
            ctx.log(f"the signals of workflow type {kind.name} have changed from workflow {first_id} on: {changes}")
        if kind.handler.keeps_contract and last.first_id:
            self._kept[kind.name] = last.first_id

    def check(self, ctx: Context, workflow_id: int, kind: Definition, name: str, given: Any) -> None:
        """``SenderError`` ``unknown_signal`` or ``bad_arguments`` if the workflow's own contract does not take it."""
        if workflow_id >= self._kept.get(kind.name, 0):
            return
        table = ctx.db.workflow_contract
        rows = table.range("first_id", high=workflow_id, workflow_type=kind.name, reverse=True, limit=1)
        contract = next(rows, None)
        if contract is None:
            return
        since = f"workflow {workflow_id} was started when the signals of {kind.name} were declared otherwise"
        declared = contract.signals.get(name)
        if declared is None:
            raise SenderError("unknown_signal", f"{since}, and {name!r} was none of them", signal=name)
        known = declared["shape"].get("properties", {})
        sent = _sent(given, known)
        found = [f"{name}.{field} is not known" for field in sent if field not in known]
        found += problems(sent, declared["shape"], declared["parts"], name)
        if found:
            raise SenderError("bad_arguments", f"{since}: {found[0]}", parameter="payload")


def _sent(given: Any, known: dict[str, Any]) -> dict[str, Any]:
    """A payload as JSON, without fields that are newer than ``known`` and were left at their defaults."""
    sent: dict[str, Any] = msgspec.to_builtins(given)
    for field in msgspec.structs.fields(given):
        name = field.encode_name
        factory = field.default_factory
        default = field.default if factory is msgspec.NODEFAULT else factory()
        if name not in known and name in sent and getattr(given, field.name) == default:
            del sent[name]
    return sent


def problems(value: Any, schema: Any, parts: dict[str, Any], at: str) -> Iterator[str]:
    """Why a JSON value does not fit a schema as msgspec writes them; what it does not know it lets pass."""
    if "$ref" in schema:
        schema = parts.get(str(schema["$ref"]).rpartition("/")[2], {})
    if "anyOf" in schema:
        if all(any(True for _ in problems(value, each, parts, at)) for each in schema["anyOf"]):
            yield f"{at} fits none of what it may be"
        return
    kinds = _TYPES.get(schema.get("type", ""))
    if kinds is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
        yield f"{at} is no {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at} is none of {', '.join(map(str, schema['enum']))}"
    if isinstance(value, dict):
        yield from (f"{at}.{name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from problems(value[name], inner, parts, f"{at}.{name}")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for number, each in enumerate(value):
            yield from problems(each, schema["items"], parts, f"{at}[{number}]")


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
