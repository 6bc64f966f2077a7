"""Distrust: whose certificates the mesh does not accept any more, though they have not expired."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from weft.model.identity import proxy_name


class Ended(enum.StrEnum):
    """What became of trust. REVOKED: no certificate at all is issued or accepted. REMOVED (somebody deleted the
    registration) and RESTORED: certificates from before are refused, those issued since are not."""

    REVOKED = "revoked"
    REMOVED = "removed"
    RESTORED = "restored"


Whose = Literal["workload", "service-account"]


@dataclass(frozen=True, slots=True)
class Distrust:
    """An end of trust, of one workload or of all workloads of a service account.

    `number` stands in every certificate that is issued after it, as that of its workload or service account (`Trust`):
    so the certificates from before are known without a list of them. Times are seconds since the epoch; after `until`
    all of those have expired.
    """

    whose: Whose
    namespace: str
    name: str
    ended: Ended
    number: int
    time: float = 0.0
    until: float = 0.0
    who: str = ""
    reason: str = ""

    @property
    def key(self) -> str:
        """Under which it is stored."""
        return distrust_key(self.whose, self.namespace, self.name)

    def refuses(self, trust: Trust) -> bool:
        """Whether a certificate with these numbers is refused, if it is one of this workload or service account."""
        own = trust.workload if self.whose == "workload" else trust.account
        return self.ended is Ended.REVOKED or own != self.number

    def __str__(self) -> str:
        what = "service account" if self.whose == "service-account" else "workload"
        return f"{what} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Trust:
    """The numbers in a certificate: of the last end of trust before it, of its workload and of its service account. 0:
    there was none. As text ``WORKLOAD.ACCOUNT``; empty where both are 0."""

    workload: int = 0
    account: int = 0

    def __str__(self) -> str:
        return f"{self.workload}.{self.account}" if self.workload or self.account else ""


NO_TRUST = Trust()
"""Of a certificate from before any end of trust."""


def trust_from_text(text: str) -> Trust:
    """The numbers in `text`; what is none has the numbers of a certificate from before any end of trust."""
    first, _, second = text.partition(".")
    if not (first.isdecimal() and second.isdecimal() and first.isascii() and second.isascii() and len(text) < 40):
        return Trust()
    return Trust(int(first), int(second))


def distrust_key(whose: Whose, namespace: str, name: str) -> str:
    """The key of an end of trust."""
    return f"{whose}/{namespace}/{name}"


@dataclass(frozen=True, slots=True)
class Distrusted:
    """Every end of trust, to be asked about one certificate."""

    _by_key: Mapping[str, Distrust] = field(default_factory=dict)

    def about(self, namespace: str, workload: str, service_account: str) -> tuple[Distrust, ...]:
        """The ends of trust that concern certificates of a workload."""
        keys = (
            distrust_key("workload", namespace, workload),
            distrust_key("service-account", namespace, service_account),
        )
        return tuple(found for key in keys if (found := self._by_key.get(key)) is not None)

    def refusal(self, proxy: str, namespace: str, service_account: str, trust: Trust) -> Distrust | None:
        """Why a certificate is refused, or None."""
        name = proxy.removesuffix(proxy_name("", namespace))
        return next((one for one in self.about(namespace, name, service_account) if one.refuses(trust)), None)


def distrusted_from(found: Iterable[Distrust]) -> Distrusted:
    """To be asked about all of these."""
    return Distrusted({one.key: one for one in found})


def trust_after(found: Iterable[Distrust]) -> Trust:
    """The numbers of a certificate that is issued after these ends of trust of its workload and service account."""
    numbers = {one.whose: one.number for one in found}
    return Trust(numbers.get("workload", 0), numbers.get("service-account", 0))
