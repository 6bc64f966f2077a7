"""Revocation lists for agents: the certificates of everybody whose trust has ended, signed by the authority."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from weft.admin.context import ApiContext
from weft.ca.issued import APPLICATIONS, BUCKET, Certificate, certificates_from, list_certificates, serials_refused
from weft.model.distrust import Distrust, Distrusted, distrusted_from, trust_from_text
from weft.sources.workloads import workload_key

_KEPT_SECONDS = 3600.0
"""After this long a list is made anew, without what has expired."""
_Told = tuple[str, str]


class RevocationLists:
    """The list of the moment. It changes when trust ends or is restored: what is issued later is not in it."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._of: tuple[Distrust, ...] | None = None
        self._made = 0.0
        self._changes = -1
        self._told: _Told = ("", "")

    async def current(self) -> _Told:
        """Its version, and the list in PEM; both empty where nothing is refused."""
        distrusted, now = self._context.collector.snapshot.distrusted, self._context.clock()
        changes = self._context.authority.changes.version
        if distrusted is not self._of or changes != self._changes or now - self._made > _KEPT_SECONDS:
            self._told = await self._make(distrusted, now)
            self._of, self._made, self._changes = distrusted, now, changes
        return self._told

    async def _make(self, distrusted: tuple[Distrust, ...], now: float) -> _Told:
        serials = sorted(await self._serials(distrusted, now)) if distrusted else []
        text = self._context.authority.revocation_list(serials)
        digest = hashlib.sha256(",".join(map(str, serials)).encode()).hexdigest()[:16]
        return (digest, text) if text else ("", "")

    async def _serials(self, distrusted: tuple[Distrust, ...], now: float) -> set[int]:
        found, asked = set[int](), distrusted_from(distrusted)
        kept = [one for bucket in (BUCKET, APPLICATIONS) for one in await self._kept(bucket, distrusted)]
        for key, certificates in kept:
            namespace, _, name = key.partition("/")
            for account in {one.service_account for one in certificates}:
                own = [one for one in certificates if one.service_account == account]
                refuses = {one.trust: _refuses(asked, namespace, name, account, one.trust) for one in own}
                found.update(serials_refused(own, refuses, now))
        return found

    async def _kept(
        self, bucket: str, distrusted: tuple[Distrust, ...]
    ) -> Iterable[tuple[str, tuple[Certificate, ...]]]:
        """The certificates of whom these ends of trust may concern, by the workload's key."""
        store = self._context.store
        if any(one.whose == "service-account" for one in distrusted):
            return (await list_certificates(store, bucket)).items()
        keys = [workload_key(one.namespace, one.name) for one in distrusted]
        return [(entry.key, certificates_from(entry)) for entry in (await store.read(bucket, keys))[1]]


def _refuses(asked: Distrusted, namespace: str, name: str, account: str, trust: str) -> bool:
    return any(one.refuses(trust_from_text(trust)) for one in asked.about(namespace, name, account))
