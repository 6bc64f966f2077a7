"""Distrust: the callers that every inbound port refuses, because the trust in them has ended."""

from __future__ import annotations

from dataclasses import dataclass

from weft.mesh.memo import Memo
from weft.model.distrust import Distrust, Ended
from weft.model.identity import SpiffeId, proxy_name


@dataclass(frozen=True, slots=True)
class RefusedCaller:
    """Certificates of one `proxy` (by common name), or of all proxies of one `identity` (URI name), but for those that
    carry `number` (0: all of them)."""

    what: str
    proxy: str = ""
    identity: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Refused:
    """All of them, in the order of their names. Compared by identity."""

    callers: tuple[RefusedCaller, ...]


def build_refused(memo: Memo, distrusted: tuple[Distrust, ...], trust_domain: str) -> Refused | None:
    """Whom inbound ports refuse; None if nobody."""
    if not distrusted:
        return None
    return memo.over(_refused, [memo(_caller, one, trust_domain) for one in distrusted])


def _refused(callers: tuple[RefusedCaller, ...]) -> Refused:
    return Refused(callers)


def _caller(distrust: Distrust, trust_domain: str) -> RefusedCaller:
    number = 0 if distrust.ended is Ended.REVOKED else distrust.number
    if distrust.whose == "workload":
        return RefusedCaller(str(distrust), proxy=proxy_name(distrust.name, distrust.namespace), number=number)
    return RefusedCaller(
        str(distrust), identity=str(SpiffeId(trust_domain, distrust.namespace, distrust.name)), number=number
    )
