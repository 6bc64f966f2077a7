"""Issued certificates: of each workload the latest that have not expired, kept so as to be shown and refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from cryptography import x509

from weft.model.enrolment import Issued
from weft.store.protocol import Delete, Entry, Put, Store

BUCKET = "certificates"
APPLICATIONS = "application-certificates"
"""Those of the applications behind proxies: apart, lest many of them push out the proxy's own."""
KEPT = 100
"""Of one workload. An agent that asks for more is refused by its name and numbers all the same; only the list of the
hand-shake lacks the oldest."""


class Certificate(msgspec.Struct, frozen=True):
    """One certificate. `serial` in hexadecimal, `trust` as it stands in it, times in epoch seconds."""

    serial: str
    service_account: str
    trust: str
    not_before: float
    not_after: float


class _Kept(msgspec.Struct, frozen=True):
    certificates: tuple[Certificate, ...] = ()


def certificate_of(issued: Issued, service_account: str, trust: str) -> Certificate:
    """What is kept of a certificate just issued."""
    leaf = x509.load_pem_x509_certificate(issued.chain.encode())
    return Certificate(f"{leaf.serial_number:x}", service_account, trust, issued.not_before, issued.not_after)


def put_certificate(entry: Entry | None, key: str, certificate: Certificate, now: float, bucket: str = BUCKET) -> Put:
    """The write that keeps `certificate` of the workload `key`, whose `entry` is there now."""
    earlier = [one for one in certificates_from(entry) if one.not_after > now]
    return Put(bucket, key, msgspec.json.encode(_Kept((*earlier[1 - KEPT :], certificate))))


def certificates_from(entry: Entry | None) -> tuple[Certificate, ...]:
    """Those of an entry, the latest last; none of one that cannot be read."""
    if entry is None:
        return ()
    try:
        return msgspec.json.decode(entry.value, type=_Kept).certificates
    except msgspec.DecodeError:
        return ()


async def list_certificates(store: Store, bucket: str = BUCKET) -> Mapping[str, tuple[Certificate, ...]]:
    """Of every workload, by its key."""
    _, entries = await store.list(bucket)
    return {entry.key: certificates_from(entry) for entry in entries}


async def forget_expired(store: Store, now: float) -> int:
    """Forget workloads of which every certificate has expired; how many. ConflictError: one of them was given a new one
    meanwhile, and none is forgotten."""
    over = [
        entry
        for bucket in (BUCKET, APPLICATIONS)
        for entry in (await store.list(bucket))[1]
        if not any(one.not_after > now for one in certificates_from(entry))
    ]
    if over:
        expect = {(one.bucket, one.key): one.revision for one in over}
        await store.write([Delete(one.bucket, one.key) for one in over], expect)
    return len(over)


def serials_refused(certificates: Iterable[Certificate], refuses: Mapping[str, bool], now: float) -> tuple[int, ...]:
    """The serial numbers of those that have not expired and whose `trust` is refused."""
    return tuple(int(one.serial, 16) for one in certificates if one.not_after > now and refuses[one.trust])
