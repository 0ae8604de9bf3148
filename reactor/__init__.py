"""Entity Reactor: game-entity workflows over a reactive table store.

What a module's author needs is here; everything else has a module of its own.
"""

from reactor.clock import days, hours, milliseconds, minutes, seconds
from reactor.columns import (
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    I128,
    I256,
    U8,
    U16,
    U32,
    U64,
    U128,
    U256,
    Duration,
    Json,
    Timestamp,
)
from reactor.context import Context
from reactor.errors import Fault, ReactorError, Refusal, SenderError, invariant, refuse
from reactor.module import Module
from reactor.schema import index, primary_key
from reactor.table import Table
from reactor.timers import CatchUp, TimerInfo

__version__ = "0.1.0"

__all__ = [
    "F32",
    "F64",
    "I8",
    "I16",
    "I32",
    "I64",
    "I128",
    "I256",
    "U8",
    "U16",
    "U32",
    "U64",
    "U128",
    "U256",
    "CatchUp",
    "Context",
    "Duration",
    "Fault",
    "Json",
    "Module",
    "ReactorError",
    "Refusal",
    "SenderError",
    "Table",
    "TimerInfo",
    "Timestamp",
    "days",
    "hours",
    "index",
    "invariant",
    "milliseconds",
    "minutes",
    "primary_key",
    "refuse",
    "seconds",
]
