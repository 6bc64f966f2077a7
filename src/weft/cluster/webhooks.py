"""Webhooks of a cluster: those of weft, and those of other meshes that put sidecars into the same pods."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from weft.cluster.pods import injected_namespaces
from weft.cluster.reading import Reader, all_of, labels_of, member, name_of, selected
from weft.findings.cluster.facts import MUTATING, VALIDATING, WebhookFact
from weft.model.revisions import USUAL, Revision
from weft.sources.kubernetes.server_objects import Json

_API = "/apis/admissionregistration.k8s.io/v1"
_OTHERS = re.compile(
    r"(^|[.-])(istio\.io|linkerd\.io|consul\.hashicorp\.com|kuma\.io|kuma|kongmesh|openservicemesh|osm)\b"
)
"""Domains by which injectors of other meshes are called."""


async def webhook_facts(
    reader: Reader, namespaces: list[Json], own: str, names: Revision = USUAL
) -> tuple[WebhookFact, ...]:
    """All webhooks of a revision of weft, and those of other meshes that are asked about pods."""
    ours = {f"weft-injector{names.suffix}": True, f"weft-validator{names.suffix}": False}
    mutating, validating = await all_of(
        reader.every(f"{_API}/mutatingwebhookconfigurations", MUTATING),
        reader.every(f"{_API}/validatingwebhookconfigurations", VALIDATING),
    )
    there = {each.name for each in injected_namespaces(namespaces, own, names)}
    injected = [each for each in namespaces if name_of(each) in there]
    found = []
    for is_mutating, configurations in ((True, mutating), (False, validating)):
        for configuration in configurations:
            for webhook in configuration.get("webhooks") or ():
                is_ours = ours.get(name_of(configuration)) is is_mutating
                fact = replace(_fact(name_of(configuration), webhook, is_mutating, injected), ours=is_ours)
                other = is_mutating and fact.pods and bool(_OTHERS.search(fact.name))
                if fact.ours or other:
                    found.append(fact)
    return tuple(found)


def _fact(configuration: str, webhook: Json, mutating: bool, injected: list[Json]) -> WebhookFact:
    root = _root(str(member(webhook, "clientConfig", "caBundle") or ""))
    selector = member(webhook, "namespaceSelector")
    return WebhookFact(
        configuration=configuration,
        name=str(webhook.get("name") or ""),
        mutating=mutating,
        failure_policy=str(webhook.get("failurePolicy") or "Fail"),
        authority="" if root is None else f"sha256:{hashlib.sha256(root.public_bytes(Encoding.DER)).hexdigest()}",
        ends=0.0 if root is None else root.not_valid_after_utc.timestamp(),
        pods=any(_is_for_pods(rule) for rule in webhook.get("rules") or ()),
        namespaces=tuple(name_of(each) for each in injected if selected(selector, labels_of(each))),
    )


def _root(bundle: str) -> x509.Certificate | None:
    """The first certificate of a caBundle; None if it has none."""
    try:
        return x509.load_pem_x509_certificates(base64.b64decode(bundle, validate=True))[0]
    except (binascii.Error, ValueError):
        return None


def _is_for_pods(rule: Json) -> bool:
    groups, resources = rule.get("apiGroups") or (), rule.get("resources") or ()
    return bool({"", "*"} & set(groups)) and bool({"pods", "*", "*/*"} & set(resources))
