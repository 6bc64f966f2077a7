"""ServiceEntry: each of its hosts as a Frontend, and the instances that its document describes.

https://istio.io/latest/docs/reference/config/networking/service-entry/
"""

from __future__ import annotations

from collections.abc import Mapping

from weft.mesh.memo import Memo
from weft.mesh.problems import problem_at
from weft.mesh.services.exports import exports_of
from weft.mesh.services.hosts import SERVICE_SUFFIX, service_host
from weft.mesh.services.member import Member
from weft.mesh.services.owners import Claimant, share_host, taken_problem
from weft.mesh.services.protocols import protocol_of_word, word_means_tls
from weft.mesh.services.service import Frontend, FrontendPort, Location, Resolution
from weft.mesh.services.workloadentry import build_member
from weft.model.document import Document
from weft.model.identity import DNS_SUFFIX
from weft.model.labels import labels_from_mapping
from weft.model.problem import Problem
from weft.schema.hosts import service_of_host
from weft.schema.kinds.serviceentry import ServiceEntrySpec

ServiceEntryDocument = Document[ServiceEntrySpec]
Declared = tuple[Frontend, ...]
RESOLUTIONS = {
    "NONE": Resolution.NONE,
    "STATIC": Resolution.STATIC,
    "DNS": Resolution.DNS,
    "DNS_ROUND_ROBIN": Resolution.DNS_ROUND_ROBIN,
    "DYNAMIC_DNS": Resolution.DYNAMIC_DNS,
}
_ALL_SERVICES = ("*.local", f"*.{DNS_SUFFIX}")
"""Wildcards that the names of all Services are below, beside those of a namespace's."""


def build_entry_frontends(memo: Memo, document: ServiceEntryDocument, exports: tuple[str, ...] = ()) -> Declared:
    """A Frontend for each host of a ServiceEntry. `exports` are the mesh's words for those that say nothing."""
    spec = document.spec
    members = tuple(
        build_member(document, endpoint, ("spec", "endpoints", index)) for index, endpoint in enumerate(spec.endpoints)
    )
    return tuple(memo(_frontend, document, host, members, exports) for host in spec.hosts)


def _frontend(
    document: ServiceEntryDocument, host: str, members: tuple[Member, ...], exports: tuple[str, ...]
) -> Frontend:
    spec = document.spec
    selector = spec.workload_selector
    return Frontend(
        key=document.key,
        host=host,
        ports=tuple(
            FrontendPort(
                port.number,
                port.name,
                protocol_of_word(port.protocol.lower()),
                port.target_port or port.number,
                word_means_tls(port.protocol.lower()),
            )
            for port in spec.ports
        ),
        origin=document.origin,
        resolution=RESOLUTIONS[spec.resolution],
        location=Location.MESH if spec.location == "MESH_INTERNAL" else Location.OUTSIDE,
        selector=labels_from_mapping(selector.labels) if selector else (),
        members=members,
        # An address means one service only, that of the first host; what is called is never a range.
        addresses=tuple(each for each in spec.addresses if "/" not in each) if host == spec.hosts[0] else (),
        alt_names=spec.subject_alt_names,
        exports=exports_of(spec.export_to, document.key.namespace, exports),
    )


def settle_hosts(
    memo: Memo,
    services: tuple[Frontend, ...],
    declared: tuple[Declared, ...],
    documents: tuple[ServiceEntryDocument, ...],
) -> tuple[tuple[Frontend, ...], tuple[ServiceEntryDocument, ...], tuple[Problem, ...]]:
    """Those of the `declared` frontends that have their host, each with its document, sorted by namespace, document and
    host, and what is wrong with the others. A host is that of a Service that is called so; the names of Services of a
    namespace are declared by nobody in another one. `share_host` says which of several ServiceEntries have it."""
    names = {frontend.host: frontend for frontend in services}
    hosts: dict[str, list[Claimant]] = {}
    problems: list[Problem] = []
    pairs = sorted(zip(documents, declared, strict=True), key=lambda pair: pair[0].precedence)
    for document, frontends in pairs:
        for index, frontend in enumerate(frontends):
            owner = _service_called(frontend.host, names)
            if owner is not None:
                problems.append(taken_problem(document, index, owner))
            elif _belongs_elsewhere(frontend):
                problems.append(_foreign(document, index))
            else:
                hosts.setdefault(frontend.host, []).append(Claimant(frontend, document, index))
    chosen: list[tuple[Frontend, ServiceEntryDocument]] = []
    for claimants in hosts.values():
        shared, told = share_host(memo, claimants) if len(claimants) > 1 else (claimants, ())
        chosen += [(each.frontend, each.document) for each in shared]
        problems += told
    chosen.sort(key=lambda pair: (pair[0].namespace, pair[0].key.name, pair[0].host))
    return tuple(one for one, _ in chosen), tuple(document for _, document in chosen), tuple(problems)


def _service_called(host: str, owners: Mapping[str, Frontend]) -> Frontend | None:
    """The Service that callers of every namespace call by this host."""
    service = service_of_host(host, "") if "." in host else None
    found = owners.get(service_host(service.name, service.namespace)) if service is not None else None
    return found if found is not None and found.is_service else None


def _belongs_elsewhere(frontend: Frontend) -> bool:
    """Whether its host is, or stands for, names that Services of another namespace have wherever they are called from,
    whether they are there or not."""
    host = frontend.host
    if host in _ALL_SERVICES:
        return True
    suffix = next((each for each in (SERVICE_SUFFIX, ".svc") if host.endswith(each)), None)
    return suffix is not None and host.removesuffix(suffix).rpartition(".")[2] != frontend.namespace


def _foreign(document: ServiceEntryDocument, index: int) -> Problem:
    message = (
        f"'{document.spec.hosts[index]}' means Services of another namespace, so this document is not in force for it"
    )
    expected = "a host outside, or of its own namespace"
    return problem_at(document, ("spec", "hosts", index), "host-conflict", message, expected)
