"""The rows of `weft identity list`: every workload that has, had or may not have a certificate. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from weft.ca.issued import Certificate
from weft.model.distrust import Distrust, Ended, distrusted_from, trust_from_text
from weft.model.identity import SpiffeId
from weft.model.workload import Workload
from weft.sources.workloads import workload_key


@dataclass(frozen=True, slots=True)
class IdentityRow:
    """One workload of an identity. `state`: active (registered, with a certificate that is accepted), lapsed (no longer
    registered, or its certificate has expired), removed, or revoked. `certificates` are those that have not expired;
    `serial`, `issued` and `until` are of the latest. `since`, `by` and `reason` tell who ended trust."""

    namespace: str
    service_account: str
    workload: str
    identity: str
    state: str
    serial: str = ""
    issued: float = 0.0
    until: float = 0.0
    certificates: int = 0
    since: float = 0.0
    by: str = ""
    reason: str = ""


def identity_rows(
    trust_domain: str,
    workloads: Iterable[Workload],
    certificates: Mapping[str, tuple[Certificate, ...]],
    distrusted: tuple[Distrust, ...],
    now: float,
) -> tuple[IdentityRow, ...]:
    """Of all registered workloads, of those that have certificates, and of what is revoked; by namespace, service
    account and workload."""
    registered = {workload_key(one.namespace, one.name): one for one in workloads}
    names: dict[tuple[str, str, str], None] = {}
    for workload in registered.values():
        names[workload.namespace, workload.service_account, workload.name] = None
    for key, found in certificates.items():
        namespace, _, name = key.partition("/")
        names |= dict.fromkeys((namespace, one.service_account, name) for one in found if one.not_after > now)
    asked = distrusted_from(distrusted)
    rows = []
    for namespace, account, name in names:
        key = workload_key(namespace, name)
        own = [one for one in certificates.get(key, ()) if one.service_account == account and one.not_after > now]
        holder = registered.get(key)
        here = holder is not None and holder.service_account == account
        rows.append(_row(trust_domain, (namespace, account, name), own, asked.about(namespace, name, account), here))
    seen = {(row.namespace, row.workload) for row in rows} | {(row.namespace, "", row.service_account) for row in rows}
    rows += [
        _without_certificate(trust_domain, one)
        for one in distrusted
        if one.ended is Ended.REVOKED and _place(one) not in seen
    ]
    return tuple(sorted(rows, key=lambda row: (row.namespace, row.service_account, row.workload)))


def _row(
    trust_domain: str, names: tuple[str, str, str], own: list[Certificate], ends: tuple[Distrust, ...], here: bool
) -> IdentityRow:
    namespace, account, name = names
    latest = own[-1] if own else None
    revoked = next((one for one in ends if one.ended is Ended.REVOKED), None)
    refused = latest is not None and any(one.refuses(trust_from_text(latest.trust)) for one in ends)
    end = revoked or (max(ends, key=lambda one: one.time) if refused else None)
    if revoked is not None:
        state = "revoked"
    elif refused and not here:
        state = "removed"
    else:
        state = "active" if here and latest is not None else "lapsed"
    return IdentityRow(
        namespace,
        account,
        name,
        str(SpiffeId(trust_domain, namespace, account)),
        state,
        latest.serial if latest else "",
        latest.not_before if latest else 0.0,
        latest.not_after if latest else 0.0,
        len(own),
        *((end.time, end.who, end.reason) if end else ()),
    )


def _place(one: Distrust) -> tuple[str, ...]:
    return (one.namespace, one.name) if one.whose == "workload" else (one.namespace, "", one.name)


def _without_certificate(trust_domain: str, one: Distrust) -> IdentityRow:
    """What is revoked and has no certificate any more."""
    account = one.name if one.whose == "service-account" else ""
    workload = one.name if one.whose == "workload" else ""
    identity = str(SpiffeId(trust_domain, one.namespace, account)) if account else ""
    ended = {"since": one.time, "by": one.who, "reason": one.reason}
    return IdentityRow(one.namespace, account, workload, identity, "revoked", **ended)  # type: ignore[arg-type]
