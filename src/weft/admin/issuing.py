"""Certificates of workloads, issued through the agent API: for whom they are, and how they are kept on record."""

from __future__ import annotations

import dataclasses

from weft.admin.context import ApiContext
from weft.admin.registered import key_of
from weft.admin.replies import Refused
from weft.admin.standing import Standing
from weft.ca.authority import CONTROL_PLANE_ACCOUNT, CONTROL_PLANE_NAMESPACE
from weft.ca.issued import BUCKET as CERTIFICATES
from weft.ca.issued import certificate_of, put_certificate
from weft.ca.request import CertificateRefusedError
from weft.model.canonical import canonical_revision, canonical_service
from weft.model.distrust import Ended, Trust
from weft.model.enrolment import Issued
from weft.model.identity import SpiffeId
from weft.model.workload import Workload
from weft.sources.distrust import put_distrust
from weft.store.protocol import Change


class Issuing:
    """See the module."""

    def __init__(self, context: ApiContext) -> None:
        self._store = context.store
        self._authority = context.authority
        self._ttl = context.enrolment.certificate_ttl
        self._clock = context.clock

    def identity(self, workload: Workload) -> SpiffeId:
        """Whom the certificates of a workload prove."""
        return SpiffeId(self._authority.trust_domain, workload.namespace, workload.service_account)

    def check_reserved(self, workload: Workload) -> None:
        """Refused if the workload would be the control plane itself."""
        if (workload.namespace, workload.service_account) == (CONTROL_PLANE_NAMESPACE, CONTROL_PLANE_ACCOUNT):
            text = "this identity is the control plane's own"
            raise Refused(403, "reserved-identity", text, about=key_of(workload))

    def issue(self, csr: str, workload: Workload, trust: Trust) -> Issued:
        """A certificate for the workload, whoever the request names. Refused (403) if the request is no good."""
        try:
            return self._authority.issue(
                csr,
                self.identity(workload),
                workload.proxy,
                self._ttl,
                service=canonical_service(workload),
                revision=canonical_revision(workload),
                trust=trust,
                pod=workload.pod,
                owner=workload.owner,
            )
        except CertificateRefusedError as error:
            raise Refused(403, error.code, str(error), about=key_of(workload)) from error

    async def kept(
        self, issued: Issued, workload: Workload, standing: Standing
    ) -> tuple[list[Change], dict[tuple[str, str], int]]:
        """The writes that keep a certificate on record, and what must hold then: that trust has not ended meanwhile."""
        key = key_of(workload)
        entry = await self._store.get(CERTIFICATES, key)
        certificate = certificate_of(issued, workload.service_account, str(standing.trust))
        changes: list[Change] = [put_certificate(entry, key, certificate, self._clock())]
        removed = [one for one in standing.ends if one.ended is Ended.REMOVED]
        changes += [put_distrust(dataclasses.replace(one, ended=Ended.RESTORED)) for one in removed]
        return changes, {**standing.expect, (CERTIFICATES, key): entry.revision if entry else 0}
