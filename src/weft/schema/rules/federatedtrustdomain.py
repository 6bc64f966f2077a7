"""Rules of FederatedTrustDomain."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from weft.model.bundles import BundleError, bundle_from_json
from weft.schema.findings import Finding, Rule, conflicting, missing
from weft.schema.kinds.federatedtrustdomain import FederatedTrustDomainSpec

_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+")


def federated_trust_domain(spec: FederatedTrustDomainSpec) -> Iterator[Finding]:
    """There is a bundle, or where to fetch it and how that is proven."""
    if spec.bundle_endpoint_url is None and spec.trust_domain_bundle is None:
        yield missing((), "there is nothing to check its callers against", "bundleEndpointURL or trustDomainBundle")
    if spec.trust_domain_bundle is not None:
        try:
            bundle = bundle_from_json(spec.trust_domain, spec.trust_domain_bundle)
        except BundleError as error:
            yield Finding(("trustDomainBundle",), f"it is no trust bundle: {error}", "what the domain's endpoint gives")
        else:
            if not bundle.roots and spec.bundle_endpoint_url is None:
                yield Finding(("trustDomainBundle",), "it has no root", 'a key with "use": "x509-svid"')


def endpoint(spec: FederatedTrustDomainSpec) -> Iterator[Finding]:
    """The endpoint is named whole, and speaks HTTPS."""
    url, profile = spec.bundle_endpoint_url, spec.bundle_endpoint_profile
    if url is None:
        if profile is not None:
            yield conflicting(("bundleEndpointProfile",), "there is no bundleEndpointURL that it is for", "no profile")
        return
    if not _is_endpoint(url):
        yield Finding(("bundleEndpointURL",), f"found '{url[:80]}'", "https://HOST[:PORT][/PATH]")
    if profile is None:
        yield missing((), "it is not said how the endpoint proves itself", "bundleEndpointProfile")
        return
    name, path = profile.endpoint_spiffe_id, ("bundleEndpointProfile", "endpointSPIFFEID")
    if profile.type == "https_web":
        if name is not None:
            yield conflicting(path, "https_web is proven by the host's name", "no endpointSPIFFEID")
    elif name is None:
        yield missing(("bundleEndpointProfile",), "https_spiffe needs the identity of the endpoint", "endpointSPIFFEID")
    elif not _SPIFFE_ID.fullmatch(name):
        yield Finding(path, f"found '{name[:80]}'", "a SPIFFE ID, such as spiffe://b.example/bundle-endpoint")
    elif name.split("/")[2] == spec.trust_domain and spec.trust_domain_bundle is None:
        yield missing((), "the endpoint is proven by the bundle that it is to give", "trustDomainBundle, the first one")


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme == "https"
            and bool(parts.hostname)
            and parts.username is None
            and parts.port != 0
            and not parts.query
            and not parts.fragment
            and url.isascii()
            and url.isprintable()
        )
    except ValueError:
        return False


RULES: Mapping[type, tuple[Rule, ...]] = {FederatedTrustDomainSpec: (federated_trust_domain, endpoint)}
