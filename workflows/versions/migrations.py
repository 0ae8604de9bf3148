"""States that were stored under another version of their type, brought to the version that the code reads.

A type says how with functions from JSON object to JSON object, one per version: ``migrations = {1: fn}`` makes of a
state of version 1 one of version 2, ``downgrades = {3: fn}`` of one of version 3 one of version 2. They run in a chain.
They are given plain data, since the classes of those days are gone, and they are pure: the same state in, the same
state out, as often as it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import msgspec

from reactor.errors import Refusal
from workflows.failures import HARD, FailureCategory

Migration = Callable[[dict[str, Any]], dict[str, Any]]

VERSION_MAX = (1 << 32) - 1
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class StateError(ValueError):
    """A stored state that its type cannot read. The workflow is parked: code that can read it takes it up again."""

    category = FailureCategory.TASK_FAILURE


class VersionError(StateError):
    """A stored state of another version that cannot be brought to the type's own."""


class Migrations:
    """How the states of one type come from other versions to ``version``.

    Raises ``Refusal`` ``bad_declaration`` for versions that are missing in between or lead nowhere.
    """

    __slots__ = ("_decode_state", "_type", "down", "inherited", "up", "version")

    def __init__(
        self, type_name: str, version: Any, up: Any, down: Any, decode_state: Callable[[bytes], Any] | None, where: str
    ) -> None:
        """``decode_state`` reads a state as it is now; None for a type without state."""
        if type(version) is not int or not 1 <= version <= VERSION_MAX:
            _bad(where, f"state_version is a whole number from 1 to {VERSION_MAX}, not {version!r}")
        self.version: int = version
        self.up = _checked(up, f"{where}, migrations")
        self.down = _checked(down, f"{where}, downgrades")
        self.inherited: dict[int, Migration] = {}
        """Downgrades of the version that a reload has replaced: for as long as this process lives."""
        self._type = type_name
        self._decode_state = decode_state
        if self.up and max(self.up) != version - 1:
            _bad(
                f"{where}, migrations",
                f"the last one leads from version {max(self.up)} to {max(self.up) + 1}, and state_version is {version}",
            )
        if self.down and not 2 <= min(self.down) <= version + 1:
            _bad(
                f"{where}, downgrades",
                f"the first one leads from version {min(self.down)} to {min(self.down) - 1}; with state_version "
                f"{version} it leads from a version between 2 and {version + 1}",
            )

    @property
    def lowest(self) -> int:
        """The oldest version that can be read."""
        return min(self.up, default=self.version)

    @property
    def highest(self) -> int:
        """The newest version that can be read."""
        return max((self.version, *self.down, *self.inherited))

    def inherit(self, other: Migrations) -> None:
        """Take over the downgrades of the code that is being replaced: it knows what this code, being older, cannot."""
        known = {**other.inherited, **other.down}
        for version in range(self.highest + 1, other.highest + 1):
            if version not in known:
                return
            self.inherited[version] = known[version]

    def reaches(self, stored: int) -> bool:
        """Whether there is a way from ``stored`` to the type's own version."""
        return self.lowest <= stored <= self.highest

    def bring(self, stored: int, text: str) -> Any:
        """The state that was stored as ``text`` in version ``stored``, as the type's code knows it now.

        Raises ``VersionError``, which says what is missing or has failed.
        """
        if not self.reaches(stored):
            self._no_way(stored)
        try:
            state = _decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise VersionError(f"the stored state of {self._type} cannot be read: {error}") from None
        # A type may have had no state once, or has none now.
        state = self._walk(stored, {} if state is None else state)
        try:
            return None if self._decode_state is None else self._decode_state(_encode(state))
        except (msgspec.DecodeError, msgspec.EncodeError, RecursionError, TypeError) as error:
            raise VersionError(
                f"the state of {self._type} was brought from version {stored} to {self.version}, but what came out "
                f"cannot be read: {error}"
            ) from None

    def _walk(self, stored: int, state: Any) -> Any:
        step = 1 if stored < self.version else -1
        for version in range(stored, self.version, step):
            function = self.up[version] if step == 1 else self.down.get(version) or self.inherited[version]
            try:
                state = function(state)
            except HARD:
                raise
            except BaseException as error:
                raise VersionError(
                    f"{self._named(version, step)} of {self._type} raised {type(error).__name__}: {error}"
                ) from error
            if not isinstance(state, dict | list):
                raise VersionError(f"{self._named(version, step)} of {self._type} returned {state!r:.100}, not a dict")
        return state

    def _named(self, version: int, step: int) -> str:
        return f"{'migrations' if step == 1 else 'downgrades'}[{version}] (version {version} to {version + step})"

    def _no_way(self, stored: int) -> NoReturn:
        wanted = f"migrations[{stored}]" if stored < self.version else f"downgrades[{stored}]"
        raise VersionError(
            f"the state of {self._type} was stored in version {stored}, and this code reads versions {self.lowest} to "
            f"{self.highest}: it has no {wanted}"
        )


def _checked(given: Any, where: str) -> dict[int, Migration]:
    """The functions by version; ``Refusal`` for what is no version, no function, or a gap."""
    if not isinstance(given, Mapping):
        _bad(where, f"functions by version are wanted, such as {{1: to_version_2}}, not {given!r}")
    for version, function in given.items():
        if type(version) is not int or not 1 <= version <= VERSION_MAX:
            _bad(where, f"{version!r} is no version; versions are whole numbers from 1")
        if not callable(function):
            _bad(where, f"{function!r}, for version {version}, is not a function")
    if given:
        missing = sorted(set(range(min(given), max(given) + 1)) - set(given))
        if missing:
            _bad(where, f"version {', '.join(map(str, missing))} is missing between {min(given)} and {max(given)}")
    return {version: given[version] for version in sorted(given)}


def _bad(where: str, reason: str) -> NoReturn:
    raise Refusal("bad_declaration", f"{where}: {reason}")
