"""What a reducer returns, as the JSON it is answered with."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from reactor.columns import INT64_MIN
from reactor.errors import Fault


def _wide_as_text(value: Any) -> Any:
    """Integers past 64 bits travel as decimal text, in rows and wherever else they are seen."""
    return str(value) if type(value) is int and not INT64_MIN <= value < 1 << 64 else value


def encode_result(result: Any, name: str) -> bytes:
    """A reducer's return value as JSON bytes; rows become objects. Raises ``Fault`` ``bad_result``."""
    try:
        return orjson.dumps(result, default=_encode_special)
    except (orjson.JSONEncodeError, TypeError) as error:
        raise Fault("bad_result", f"{name} returned something that is not JSON ({error}); it was undone") from None


def _encode_special(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _wide_as_text(getattr(value, name)) for name in value.__struct_fields__}
    return msgspec.to_builtins(value)
