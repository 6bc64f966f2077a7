"""FederatedTrustDomain: which other trust domains are believed, each by its own roots, and by whom.

A document that cannot be understood makes nobody believed.
https://spiffe.io/docs/latest/architecture/federation/readme/
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from weft.mesh.problems import problem_at
from weft.model.bundles import ForeignBundle, TrustBundle, bundle_from_json
from weft.model.document import Document, ObjectKey
from weft.model.origin import Origin
from weft.model.problem import Problem
from weft.schema.kinds.federatedtrustdomain import FederatedTrustDomainSpec

FederationDocument = Document[FederatedTrustDomainSpec]


@dataclass(frozen=True, slots=True, eq=False)
class ForeignDomain:
    """A trust domain and its bundle. `epoch` changes whenever something of the bundle was taken back. `namespaces`:
    only workloads of these accept its callers (none named: all). Compared by identity."""

    bundle: TrustBundle
    epoch: str
    namespaces: tuple[str, ...]
    origin: Origin

    @property
    def name(self) -> str:
        """The trust domain."""
        return self.bundle.trust_domain


@dataclass(frozen=True, slots=True)
class BundleEndpoint:
    """Where a trust domain publishes its bundle. `spiffe_id` is what the endpoint must prove (empty: the name of its
    host); `source` stands for both. `document` says so."""

    trust_domain: str
    url: str
    spiffe_id: str
    source: str
    document: ObjectKey
    origin: Origin


@dataclass(frozen=True, slots=True, eq=False)
class Federation:
    """The other trust domains that are believed, by name, and where the bundles come from that are fetched. Compared by
    identity."""

    domains: tuple[ForeignDomain, ...] = ()
    endpoints: tuple[BundleEndpoint, ...] = ()
    problems: tuple[Problem, ...] = ()


NO_FEDERATION = Federation()


@dataclass(frozen=True, slots=True, eq=False)
class ForeignTrust:
    """Whose callers a proxy's ports accept besides those of its own domain. `epoch` stands for all of them: connections
    of another epoch are closed. Compared by identity."""

    own: str
    domains: tuple[ForeignDomain, ...]
    epoch: str


def build_federation(
    documents: tuple[FederationDocument, ...],
    bundles: tuple[ForeignBundle, ...],
    root_namespace: str,
    own: str,
) -> Federation:
    """What `documents` say, with the `bundles` that were fetched: a trust domain without one is not believed yet. `own`
    is the mesh's trust domain, which nobody else may vouch for."""
    fetched = {(one.bundle.trust_domain, one.source): one for one in bundles}
    problems: list[Problem] = []
    winners: dict[str, FederationDocument] = {}
    for document in sorted(documents, key=lambda item: item.precedence):
        name = document.spec.trust_domain
        winner = winners.get(name)
        if document.key.namespace != root_namespace:
            problems.append(_misplaced(document, root_namespace))
        elif name == own:
            problems.append(_own(document))
        elif winner is not None:
            problems.append(_second(document, winner))
        else:
            winners[name] = document
    domains = []
    endpoints = [each for _, document in sorted(winners.items()) if (each := _endpoint(document)) is not None]
    for name, document in sorted(winners.items()):
        found = _domain(document, fetched.get((name, source_of(document.spec))))
        if found is not None:
            domains.append(found)
    return Federation(tuple(domains), tuple(endpoints), tuple(problems))


def source_of(spec: FederatedTrustDomainSpec) -> str:
    """What a fetched bundle belongs to: another URL, or another way to prove the endpoint, is another source."""
    profile = spec.bundle_endpoint_profile
    if spec.bundle_endpoint_url is None or profile is None:
        return ""
    return f"{spec.bundle_endpoint_url} {profile.type} {profile.endpoint_spiffe_id or ''}".strip()


def foreign_trust(domains: tuple[ForeignDomain, ...], own: str, namespace: str) -> ForeignTrust | None:
    """Whom the workloads of `namespace` believe besides their own domain; None if nobody."""
    chosen = tuple(each for each in domains if not each.namespaces or namespace in each.namespaces)
    if not chosen:
        return None
    return ForeignTrust(own, chosen, _digest(f"{each.name} {each.epoch}" for each in chosen))


def _domain(document: FederationDocument, fetched: ForeignBundle | None) -> ForeignDomain | None:
    spec = document.spec
    origin = document.at("spec", "trustDomain")
    if fetched is not None:
        bundle, epoch = fetched.bundle, str(fetched.withdrawn)
    elif spec.trust_domain_bundle is not None:
        bundle = bundle_from_json(spec.trust_domain, spec.trust_domain_bundle)
        epoch = _digest(bundle.roots)
    else:
        return None
    return ForeignDomain(bundle, epoch, spec.namespaces, origin) if bundle.roots else None


def _endpoint(document: FederationDocument) -> BundleEndpoint | None:
    spec = document.spec
    if spec.bundle_endpoint_url is None:
        return None
    spiffe_id = spec.bundle_endpoint_profile.endpoint_spiffe_id if spec.bundle_endpoint_profile else None
    where = document.at("spec", "bundleEndpointURL")
    return BundleEndpoint(
        spec.trust_domain, spec.bundle_endpoint_url, spiffe_id or "", source_of(spec), document.key, where
    )


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _misplaced(document: FederationDocument, root_namespace: str) -> Problem:
    message = "it says whom the whole mesh believes, and stands in a namespace, so it is not in force"
    expected = f"namespace {root_namespace}"
    return problem_at(document, ("metadata", "namespace"), "federation-misplaced", message, expected)


def _own(document: FederationDocument) -> Problem:
    message = f"'{document.spec.trust_domain}' is the mesh's own trust domain, for which nobody else vouches"
    return problem_at(document, ("spec", "trustDomain"), "federation-with-itself", message, "another trust domain")


def _second(document: FederationDocument, winner: FederationDocument) -> Problem:
    message = f"{winner.key} ({winner.origin}) is older and is for the same trust domain, so this one is not in force"
    expected = "one document for each trust domain"
    return problem_at(document, ("spec", "trustDomain"), "federation-conflict", message, expected)
