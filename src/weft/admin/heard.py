"""What is known of agents: the clock and version they say they have, and the certificate they were given last."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from weft.model.printable import printable

_MOST = 20_000


@dataclass(frozen=True, slots=True)
class Said:
    """Of one agent. `ahead` is by how many seconds its clock is before ours (None: it did not say); the certificate it
    was given last is valid from `begins` to `ends`, in epoch seconds (0: not since we run). `trust` and `issuer` are
    what its Envoy has in use, as `RenewRequest` says it."""

    ahead: float | None = None
    version: str = ""
    begins: float = 0.0
    ends: float = 0.0
    trust: str = ""
    issuer: str = ""


_NOTHING = Said()


class Heard:
    """The latest of each agent, by the key of its registration; of the `_MOST` heard last."""

    def __init__(self) -> None:
        self._said: OrderedDict[str, Said] = OrderedDict()
        self.version = 0
        """Another number whenever somebody says that its proxy has something else in use."""

    def note(self, key: str, clock: float, version: str, now: float) -> None:
        """An agent said this at `now` (epoch seconds, as `clock`)."""
        ahead = clock - now if clock else None
        self._keep(key, replace(self.of(key), ahead=ahead, version=printable(version, 40)))

    def issued(self, key: str, begins: float, ends: float) -> None:
        """An agent was given a certificate."""
        self._keep(key, replace(self.of(key), begins=begins, ends=ends))

    def uses(self, key: str, trust: str, issuer: str) -> None:
        """Which bundle and whose certificate the proxy has in use."""
        before = self.of(key)
        after = replace(before, trust=printable(trust, 64), issuer=printable(issuer, 64))
        self._keep(key, after)
        if after != before:
            self.version += 1

    def _keep(self, key: str, said: Said) -> None:
        self._said.pop(key, None)
        self._said[key] = said
        if len(self._said) > _MOST:
            self._said.popitem(last=False)

    def forget(self, key: str) -> None:
        """The registration has ended."""
        if self._said.pop(key, None) is not None:
            self.version += 1

    def of(self, key: str) -> Said:
        """What the agent of a registration said."""
        return self._said.get(key, _NOTHING)

    def all(self) -> tuple[tuple[str, Said], ...]:
        """All that was said, by the keys of registrations."""
        return tuple(self._said.items())
