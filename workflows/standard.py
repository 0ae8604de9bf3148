"""The parts every engine has, in the order in which they are told of ends."""

from __future__ import annotations

from workflows.parts import Part

STANDARD: tuple[type[Part], ...] = ()
