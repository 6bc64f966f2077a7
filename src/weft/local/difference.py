"""What to do so that the processes that are there become the ones that are wanted. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from weft.local.commands import Launch
from weft.local.control_plane_entries import CHANGEABLE
from weft.local.names import CONTROL_PLANE

_FIRST_DELAY = 1.0
_LONGEST_DELAY = 60.0
_LONGEST_DELAY_OF_AGENT = 5.0


@dataclass(frozen=True, slots=True)
class Difference:
    """What to start, what to start anew because it changed, what to stop (names), and what stays as it is (names)."""

    start: tuple[Launch, ...] = ()
    change: tuple[Launch, ...] = ()
    stop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    @property
    def waited_for(self) -> frozenset[str]:
        """The names of what begins to run."""
        return frozenset(launch.name for launch in (*self.start, *self.change))

    def __str__(self) -> str:
        parts = (
            ("start", [launch.name for launch in self.start]),
            ("restart, changed", [launch.name for launch in self.change]),
            ("stop", self.stop),
            ("unchanged", self.keep),
        )
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names) or "nothing"


def difference(there: Mapping[str, Launch], down: Collection[str], wanted: Sequence[Launch]) -> Difference:
    """What leads from `there` (by name; those in `down` do not run) to `wanted`."""
    names = {launch.name for launch in wanted}
    start = [launch for launch in wanted if launch.name not in there or launch.name in down]
    rest = [launch for launch in wanted if launch not in start]
    return Difference(
        start=tuple(start),
        change=tuple(launch for launch in rest if there[launch.name] != launch),
        stop=tuple(name for name in there if name not in names),
        keep=tuple(launch.name for launch in rest if there[launch.name] == launch),
    )


def refusal(there: Mapping[str, Launch], wanted: Sequence[Launch]) -> str:
    """Why `wanted` cannot follow `there` while the mesh is up; empty when it can.

    The control plane may follow other documents, and have other doors and keys. Its trust domain and its addresses
    stand in certificates and in every proxy's bootstrap.
    """
    before = there.get(CONTROL_PLANE)
    after = next((launch for launch in wanted if launch.name == CONTROL_PLANE), None)
    if before is None or after is None or _settled(before) == _settled(after):
        return ""
    old, new = set(_settled(before)), set(_settled(after))
    found = ", ".join(" ".join(pair) for pair in sorted(new - old) or sorted(old - new))
    return (
        f"these settings of the control plane cannot change while the mesh is up: {found}; `weft down`, then `weft up`"
    )


def _settled(serve: Launch) -> tuple[tuple[str, str], ...]:
    """The options that cannot change."""
    words = serve.arguments[1:]
    pairs = zip(words[::2], words[1::2], strict=True)
    return tuple((option, value) for option, value in pairs if option not in CHANGEABLE | {"--documents"})


def restart_delay(failures: int, *, outlived: bool) -> float:
    """Seconds until a process that ended `failures` times in a row is started again. `outlived`: what it looked after
    still runs and waits for it, so the first time there is no delay, and later ones stay well below its lease."""
    if outlived and failures <= 1:
        return 0.0
    longest = _LONGEST_DELAY_OF_AGENT if outlived else _LONGEST_DELAY
    return min(_FIRST_DELAY * 2.0 ** max(0, failures - 1), longest)
