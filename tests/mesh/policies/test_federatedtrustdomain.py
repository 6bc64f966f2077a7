"""FederatedTrustDomain: which other trust domains are believed, by whom, and what must not be said."""

from __future__ import annotations

import dataclasses
import json

import pytest

from support.meshdocs import Compiled
from weft.ca.certificates import Validity, build_root, certificate_pem
from weft.mesh.policies.federatedtrustdomain import Federation, foreign_trust
from weft.model.bundles import ForeignBundle, TrustBundle, bundle_to_json
from weft.schema.decode import decode_documents

VALID = Validity(1_700_000_000, 2_000_000_000)
ROOTS = {name: certificate_pem(build_root(name, VALID).certificate) for name in ("b.test", "c.test", "d.test")}


def bundle(name: str, *roots: str) -> TrustBundle:
    return TrustBundle(name, tuple(ROOTS[root] for root in (roots or (name,))))


def document(name: str, domain: str = "", namespace: str = "istio-system", more: str = "", inline: str = "") -> str:
    """A FederatedTrustDomain with a bundle in it."""
    domain = domain or name
    text = json.dumps(bundle_to_json(bundle(domain, inline or "b.test")))
    return f"""
---
apiVersion: weft.dev/v1alpha1
kind: FederatedTrustDomain
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  trustDomain: {domain}
  trustDomainBundle: {text}
  {more}
"""


ENDPOINT = "bundleEndpointURL: https://b.example/bundle\n  bundleEndpointProfile: {type: https_web}"


def federation(*texts: str) -> Federation:
    return Compiled(*texts).mesh.federation


def test_a_document_makes_a_domain_believed_by_its_own_roots() -> None:
    mesh = Compiled(document("b.test"), document("c.test", inline="c.test"))
    assert not mesh.codes
    assert [(one.name, one.bundle.roots) for one in mesh.mesh.federation.domains] == [
        ("b.test", (ROOTS["b.test"],)),
        ("c.test", (ROOTS["c.test"],)),
    ]
    assert not Compiled("").mesh.federation.domains


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ([document("b.test", namespace="default")], "federation-misplaced"),
        ([document("cluster.local")], "federation-with-itself"),
        ([document("b.test"), document("other", "b.test")], "federation-conflict"),
    ],
)
def test_what_is_not_in_force(texts: list[str], code: str) -> None:
    mesh = Compiled(*texts)
    assert mesh.codes == [code]
    assert len(mesh.mesh.federation.domains) == len(texts) - 1


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("{trustDomain: b.test}", "spec"),
        ("{trustDomain: b.test, trustDomainBundle: '{}'}", "spec.trustDomainBundle"),
        ("{trustDomain: b.test, trustDomainBundle: '{\"keys\": []}'}", "spec.trustDomainBundle"),
        ("{trustDomain: b.test, bundleEndpointURL: 'https://b'}", "spec"),
        ("{trustDomain: b.test, bundleEndpointURL: 'http://b', bundleEndpointProfile: {type: https_web}}", "URL"),
        ("{trustDomain: b.test, bundleEndpointURL: 'https://u@b', bundleEndpointProfile: {type: https_web}}", "URL"),
        ("{trustDomain: b.test, bundleEndpointURL: 'file:///etc', bundleEndpointProfile: {type: https_web}}", "URL"),
        (
            "{trustDomain: b.test, bundleEndpointURL: 'https://b', bundleEndpointProfile: {type: https_spiffe}}",
            "spec.bundleEndpointProfile",
        ),
        (
            "{trustDomain: b.test, bundleEndpointURL: 'https://b', bundleEndpointProfile: {type: https_spiffe, "
            "endpointSPIFFEID: 'spiffe://b.test/x'}}",
            "spec",  # which needs a first bundle
        ),
        (
            "{trustDomain: b.test, bundleEndpointURL: 'https://b', bundleEndpointProfile: {type: https_web, "
            "endpointSPIFFEID: 'spiffe://b.test/x'}}",
            "endpointSPIFFEID",
        ),
        ("{trustDomain: B.test, trustDomainBundle: '{}'}", "spec.trustDomain"),
    ],
)
def test_what_the_decoder_refuses(spec: str, field: str) -> None:
    text = f"""
apiVersion: weft.dev/v1alpha1
kind: FederatedTrustDomain
metadata: {{name: b, namespace: istio-system}}
spec: {spec}
"""
    decoded = decode_documents(text, "federation.yaml")
    assert not decoded.documents
    assert any(field in ".".join(map(str, problem.path)) for problem in decoded.problems), decoded.problems


def test_a_fetched_bundle_is_taken_from_the_source_that_the_document_names() -> None:
    text = document("b.test", more=ENDPOINT)
    compiled = Compiled(text)
    assert compiled.mesh.federation.domains[0].bundle.roots == (ROOTS["b.test"],)
    source = "https://b.example/bundle https_web"
    for given, roots in ((source, "c.test"), ("https://evil.example/ https_web", "b.test")):
        fetched = ForeignBundle(bundle("b.test", "c.test"), given)
        mesh = Compiled(text, bundles=(fetched,)).mesh
        assert mesh.federation.domains[0].bundle.roots == (ROOTS[roots],)
    # a fetched bundle that nobody asks for is nothing
    assert not Compiled("", bundles=(ForeignBundle(bundle("b.test"), source),)).mesh.federation.domains


def test_who_believes_whom() -> None:
    found = federation(document("b.test", more="namespaces: [shop]"), document("c.test"))
    shop, other = (foreign_trust(found.domains, "cluster.local", space) for space in ("shop", "default"))
    assert shop is not None
    assert other is not None
    assert ([one.name for one in shop.domains], [one.name for one in other.domains]) == (
        ["b.test", "c.test"],
        ["c.test"],
    )
    assert shop.epoch != other.epoch
    assert foreign_trust((), "cluster.local", "shop") is None


def test_what_is_taken_back_is_another_epoch_and_what_is_added_is_not() -> None:
    text, source = document("b.test", more=ENDPOINT), "https://b.example/bundle https_web"
    first = ForeignBundle(bundle("b.test"), source)
    epochs = []
    for fetched in (
        first,
        dataclasses.replace(first, bundle=bundle("b.test", "b.test", "c.test")),
        dataclasses.replace(first, withdrawn=1),
    ):
        trust = foreign_trust(Compiled(text, bundles=(fetched,)).mesh.federation.domains, "cluster.local", "default")
        assert trust is not None
        epochs.append(trust.epoch)
    assert epochs[0] == epochs[1] != epochs[2]
    # of a bundle that stands in the document every change is a new epoch
    one, two = (
        foreign_trust(federation(document("b.test", inline=root)).domains, "a", "d") for root in ("b.test", "c.test")
    )
    assert one is not None
    assert two is not None
    assert one.epoch != two.epoch
