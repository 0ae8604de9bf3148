"""Payloads: whatever form they come in, the handler gets the struct it declared.

A payload may be given as a JSON value, as JSON text, as the bytes of JSON text (also as a list of byte values, or in
base64), or by game code as the struct itself. All forms end in the same decoder, so they cannot differ in effect.
An empty payload in any form is an empty object. A list fills the fields by position, and a single value the first.
One list is ambiguous, and bytes win: a list of numbers that spells JSON text, such as ``[123, 125]``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from reactor.errors import Refusal, SenderError


class Payload(msgspec.Struct, forbid_unknown_fields=True):
    """Base class of payloads: fields that were not declared are refused rather than dropped."""


class NoPayload(Payload):
    """The payload of a signal or type that takes none."""


class PayloadReader:
    """Reads payloads of one struct. ``what`` names it in errors, such as ``signal stack of buff``."""

    __slots__ = ("_decode", "_fields", "_what", "kind")

    def __init__(self, kind: Any, what: str) -> None:
        if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
            raise Refusal("bad_declaration", f"{what}: its payload is declared as {kind!r}; make it a class X(Payload)")
        if not kind.__struct_config__.forbid_unknown_fields:
            raise Refusal(
                "bad_declaration",
                f"{what}: payload {kind.__name__} would silently drop fields it does not know; "
                "derive it from workflows.Payload",
            )
        try:
            self._decode = msgspec.json.Decoder(kind).decode
        except TypeError as error:
            raise Refusal("bad_declaration", f"{what}: payload {kind.__name__} cannot be decoded: {error}") from None
        self._fields = kind.__struct_encode_fields__
        self._what = what
        self.kind = kind

    def read(self, given: Any, bytes_max: int) -> Any:
        """The struct; ``SenderError`` ``bad_arguments`` or ``payload_too_large`` (longer than ``bytes_max``)."""
        if type(given) is self.kind:
            return given
        raw = _json_of(given, self._what)
        if len(raw) > bytes_max:
            raise SenderError(
                "payload_too_large",
                f"{self._what}: the payload has {len(raw)} bytes and {bytes_max} are allowed",
                bytes=len(raw),
                bytes_max=bytes_max,
            )
        try:
            return self._decode(raw if raw[:1] == b"{" else self._by_position(raw))
        except msgspec.ValidationError as error:
            raise self._wrong(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._wrong(f"it is not valid JSON: {error}") from None

    def _by_position(self, raw: bytes) -> bytes:
        try:
            given = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise self._wrong(f"it is not valid JSON: {error}") from None
        if isinstance(given, dict):
            return raw
        values = [] if given is None else given if isinstance(given, list) else [given]
        if len(values) > len(self._fields):
            takes = f"it takes ({', '.join(self._fields)})" if self._fields else "it takes none"
            raise self._wrong(f"{len(values)} values are too many; {takes}")
        try:
            return orjson.dumps(dict(zip(self._fields, values, strict=False)))
        except TypeError as error:
            raise self._wrong(str(error)) from None

    def _wrong(self, reason: str) -> SenderError:
        return SenderError("bad_arguments", f"{self._what}: payload: {reason}", parameter="payload")


def bounded_json(
    value: Any, parameter: str, bytes_max: int, encode: Callable[[Any], bytes] = orjson.dumps, advice: str = ""
) -> str:
    """A value as JSON text; ``SenderError`` ``bad_arguments``, or ``payload_too_large`` past ``bytes_max`` bytes."""
    try:
        text = encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise SenderError(
            "bad_arguments", f"parameter {parameter}: it is not JSON: {error}", parameter=parameter
        ) from None
    if len(text) > bytes_max:
        raise SenderError(
            "payload_too_large",
            f"parameter {parameter}: it has {len(text)} bytes and {bytes_max} are allowed{advice}",
            bytes=len(text),
            bytes_max=bytes_max,
        )
    return text.decode()


def _json_of(given: Any, what: str) -> bytes:
    """Any form of payload as the bytes of JSON text."""
    if given is None or given == []:
        return b"{}"
    if isinstance(given, str):
        # JSON text never starts with these; an object or an array in base64 always does.
        return _from_base64(given) if given[:1] in ("e", "W") else given.strip().encode() or b"{}"
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given).strip() or b"{}"
    if isinstance(given, list) and _spells_json(given):
        return bytes(given)
    try:
        return orjson.dumps(given)
    except (orjson.JSONEncodeError, TypeError) as error:
        raise SenderError("bad_arguments", f"{what}: payload: it is not JSON: {error}", parameter="payload") from None


def _spells_json(given: list[Any]) -> bool:
    if len(given) < 2 or (given[0], given[-1]) not in ((0x7B, 0x7D), (0x5B, 0x5D)):
        return False
    if not all(type(value) is int and 0 <= value < 256 for value in given):
        return False
    try:
        orjson.loads(bytes(given))
    except orjson.JSONDecodeError:
        return False
    return True


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode()
