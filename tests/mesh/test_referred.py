"""Which Secrets and ConfigMaps documents refer to: all that the mesh takes, and nothing that it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import weft.mesh
from support.certificates import TestAuthority
from support.corpus import INPUTS, SETTINGS, documents_of, workloads_for, world_documents
from support.meshdocs import documents
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.mesh.referred import referred, without_unread
from weft.mesh.uses import OVERLAYS, Referred
from weft.mesh.view import build_view
from weft.model.document import Document
from weft.model.snapshot import ConfigSnapshot, MeshSettings
from weft.model.trials import trial_of
from weft.model.workload import GatewayBinding, Workload
from weft.schema.decode import decode_stored
from weft.sources.kubernetes.entries import kept_text
from weft.xds.build import build_xds
from weft.xds.snapshot import TYPES

NAMED_BY_SETTINGS = next(path for path in SETTINGS if path.name == "own.yaml")
"""Mesh-wide settings in a ConfigMap that is not called ``istio``: those of files only."""
KNOWN = {
    "build.py",
    "gateways/certificates.py",
    "gateways/clients.py",
    "gateways/infrastructure.py",
    "gateways/referred.py",
    "gateways/serving.py",
    "policies/backendtlspolicy.py",
    "policies/meshconfig.py",
    "policies/referred.py",
    "policies/vault.py",
    "referred.py",
    "services/credentials.py",
    "services/referred.py",
}


def references(snapshot: ConfigSnapshot) -> tuple[Referred, ...]:
    memo = Memo()
    memo.begin()
    return referred(snapshot, memo)


def is_read(document: Document[object]) -> bool:
    return (document.key.group, document.key.kind) in (("", "Secret"), ("", "ConfigMap"))


def sent(documents: tuple[Document[object], ...]) -> dict[tuple[str, str, str], str]:
    """What every proxy is sent, with the version of each."""
    memo = Memo()
    memo.begin()
    workloads = workloads_for(documents)
    trials = tuple(trial_of(each) for each in documents if each.key.kind == "EnvoyFilter")
    mesh = build_mesh(ConfigSnapshot(1, documents, workloads, trials=trials), memo)
    views = [(each.proxy, build_xds(build_view(mesh, each, memo), 1, memo)) for each in workloads]
    return {
        (proxy, kind, one.name): one.version for proxy, found in views for kind in TYPES for one in found.of_type(kind)
    }


AUTHORITIES = """
apiVersion: v1
kind: ConfigMap
metadata: {name: roots, namespace: default}
data: {ca.crt: PEM, other: x}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: reviews, namespace: default}
spec:
  targetRefs: [{group: "", kind: Service, name: reviews}]
  validation: {hostname: api.example, caCertificateRefs: [{group: "", kind: ConfigMap, name: roots}]}
"""
"""The corpus has the ConfigMap of such a policy for another reason, too."""
TEXTS = {
    "authorities": AUTHORITIES.replace("PEM", json.dumps(TestAuthority().bundle.decode())),
    **{f"{path.parent.name}/{path.name}": path.read_text() for path in INPUTS if path != NAMED_BY_SETTINGS},
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_no_document_refers_to_changes_nothing(name: str) -> None:
    """A look-up that `weft.mesh.referred` does not know finds nothing in a cluster: this fails for it."""
    everything = (*world_documents(), *documents_of(TEXTS[name], name))
    found = {each.key: each for each in references(ConfigSnapshot(1, everything, workloads_for(everything)))}
    kept = []
    for document in everything:
        if not is_read(document):
            kept.append(document)
        elif document.key in found:
            text = kept_text(document.text, found[document.key].entries)
            kept += decode_stored(text, document.lines, default_namespace="default").documents
    assert sent(tuple(kept)) == sent(everything)


def test_nobody_else_looks_for_secrets_and_config_maps() -> None:
    """Another look-up has to be named by a function of `weft.mesh.referred`, in a case of the corpus, and here."""
    root = Path(weft.mesh.__file__).parent
    word = re.compile(r"\b(SecretSpec|ConfigMapSpec)\b|\"(Secret|ConfigMap)\"|\bSecrets\b.*import|import.*\bSecrets\b")
    found = {str(path.relative_to(root)) for path in root.rglob("*.py") if word.search(path.read_text())}
    assert found - {"gateways/declared.py", "gateways/gateway_api.py"} == KNOWN


GATEWAY = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  gatewayClassName: weft
  listeners:
  - {name: own, port: 443, protocol: HTTPS, hostname: a.example, tls: {certificateRefs: [{name: own}]}}
  - name: others
    port: 443
    protocol: HTTPS
    hostname: b.example
    tls: {certificateRefs: [{name: theirs, namespace: certs}]}
  - {name: passed, port: 8443, protocol: TLS, tls: {mode: Passthrough, certificateRefs: [{name: unused}]}}
"""
GRANT = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: front, namespace: certs}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}]
  to: [{group: "", kind: Secret, name: theirs}]
"""


def named(text: str, workloads: Iterable[Workload] = ()) -> dict[str, frozenset[str] | None]:
    """What documents refer to, but for the settings, and the entries that are looked at."""
    found = references(ConfigSnapshot(1, documents(text), tuple(workloads)))
    return {str(each.key): each.entries for each in found if each.places}


def gateway(namespace: str, **labels: str) -> Workload:
    binding = GatewayBinding("edge", "127.0.0.1", 0)
    return Workload("edge", namespace, "edge", labels=tuple(labels.items()), gateway=binding)


def test_a_secret_of_another_namespace_needs_a_grant() -> None:
    assert set(named(GATEWAY)) == {"Secret shop/own"}
    assert set(named(GATEWAY + GRANT)) == {"Secret shop/own", "Secret certs/theirs"}
    assert set(named(GATEWAY + GRANT.replace("name: theirs", "name: another"))) == {"Secret shop/own"}


def test_gateways_of_others_refer_to_nothing() -> None:
    other = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: other}
spec: {controllerName: example.com/other}
"""
    assert named(GATEWAY.replace("gatewayClassName: weft", "gatewayClassName: other") + other) == {}


PARAMETERS = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: edge}
spec:
  controllerName: weft.dev/gateway-controller
  parametersRef: {group: "", kind: ConfigMap, name: usual, namespace: system}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: sized, namespace: shop}
spec:
  gatewayClassName: edge
  infrastructure: {parametersRef: {group: "", kind: ConfigMap, name: sizes}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
"""


def test_parameters_are_those_of_classes_that_are_declared_ours() -> None:
    found = named(PARAMETERS)
    assert set(found) == {"ConfigMap system/usual", "ConfigMap shop/sizes"}
    assert set(found.values()) == {OVERLAYS}
    assert named(PARAMETERS.replace("weft.dev/", "example.com/")) == {}
    assert set(named(PARAMETERS.replace("gatewayClassName: edge", "gatewayClassName: weft"))) == {
        "ConfigMap system/usual"
    }, "nobody makes a process for a class without a document"
    assert named(PARAMETERS.replace("kind: ConfigMap", "kind: Secret")) == {}


ADDED = """
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more, namespace: team}
spec:
  parentRef: {name: front, namespace: shop}
  listeners: [{name: x, port: 444, protocol: HTTPS, hostname: c.example, tls: {certificateRefs: [{name: team}]}}]
"""


def test_only_listener_sets_that_are_taken() -> None:
    assert "Secret team/team" not in named(GATEWAY + ADDED)
    takes = GATEWAY.replace("  listeners:", "  allowedListeners: {namespaces: {from: All}}\n  listeners:")
    assert "Secret team/team" in named(takes + ADDED)


ISTIO = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  selector: {istio: ingress}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [a.example]
    tls: {mode: MUTUAL, credentialName: front}
"""


def test_secrets_of_istios_gateways_are_those_of_the_processes_that_serve_them() -> None:
    assert named(ISTIO) == {}
    assert named(ISTIO, [gateway("edge", istio="other")]) == {}
    found = named(ISTIO, [gateway("edge", istio="ingress")])
    roots = frozenset({"ca.crt", "cacert", "ca.crl", "crl"})
    assert found == {
        "Secret edge/front": roots | {"tls.crt", "tls.key", "cert", "key"},
        "Secret edge/front-cacert": roots,
    }


RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: out, namespace: shop}
spec:
  host: api.example.com
  trafficPolicy: {tls: {mode: MUTUAL, credentialName: client, sni: api.example.com}}
"""


def test_credentials_of_rules_are_those_of_the_callers() -> None:
    processes = [gateway("edge"), gateway("shop")]
    assert named(RULE) == {}
    assert set(named(RULE, processes)) == {
        f"Secret {namespace}/{name}" for namespace in ("edge", "shop") for name in ("client", "client-cacert")
    }
    kept = RULE.replace("host:", 'exportTo: ["."]\n  host:')
    assert set(named(kept, processes)) == {"Secret shop/client", "Secret shop/client-cacert"}
    chosen = RULE.replace("host:", "workloadSelector: {matchLabels: {app: a}}\n  host:")
    assert set(named(chosen, [gateway("edge")])) == {"Secret shop/client", "Secret shop/client-cacert"}


POLICIES = """
apiVersion: weft.dev/v1alpha1
kind: CredentialPolicy
metadata: {name: keys, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]
  apiKey: {from: {headers: [x-key]}, secretRefs: [{name: keys}, {name: keys, namespace: certs}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: api, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: api}]
  validation: {hostname: api.example, caCertificateRefs: [{group: "", kind: ConfigMap, name: roots}]}
"""


def test_policies_say_which_entries() -> None:
    assert named(POLICIES) == {"Secret shop/keys": None, "ConfigMap shop/roots": {"ca.crt"}}
    granted = GRANT.replace("gateway.networking.k8s.io, kind: Gateway", "weft.dev, kind: CredentialPolicy")
    assert "Secret certs/keys" in named(POLICIES + granted.replace("name: theirs", "name: keys"))


def test_settings_are_looked_for_unless_a_document_wins() -> None:
    [settings] = references(ConfigSnapshot(1))
    assert (str(settings.key), settings.entries, settings.places) == ("ConfigMap istio-system/istio", None, ())
    about = "metadata: {name: default, namespace: istio-system}"
    mesh = documents(f"apiVersion: weft.dev/v1alpha1\nkind: MeshConfig\n{about}\nspec: {{}}\n")
    assert references(ConfigSnapshot(1, mesh)) == ()


def test_the_oldest_documents_come_first() -> None:
    young, old = (documents(GATEWAY, created=created) for created in (2.0, 1.0))
    renamed = documents(
        GATEWAY.replace("name: front", "name: first").replace("name: own}", "name: older}"), created=1.0
    )
    found = references(ConfigSnapshot(1, (*young, *renamed)))
    assert [str(each.key) for each in found if each.places] == ["Secret shop/older", "Secret shop/own"]
    assert references(ConfigSnapshot(1, old))


@pytest.mark.parametrize(
    ("text", "told"),
    [(ISTIO, "'front' in namespace 'edge'"), (RULE, "'client'")],
    ids=["Gateway", "DestinationRule"],
)
def test_nobody_misses_a_secret_before_it_is_known_where_it_would_be(text: str, told: str) -> None:
    """In a cluster it is looked for only where there is a process that needs it."""
    assert missed(text, []) == []
    [message] = missed(text, [gateway("edge", istio="ingress")])
    assert f"there is no Secret {told}" in message


def test_a_listener_set_that_nobody_takes_misses_no_secret() -> None:
    found = missed(GATEWAY + ADDED, [])
    assert found == ["there is no Secret 'own' in namespace 'shop'"]


def missed(text: str, workloads: Iterable[Workload]) -> list[str]:
    memo = Memo()
    memo.begin()
    given = ConfigSnapshot(1, documents(text), tuple(workloads), settings=MeshSettings(secrets_as_needed=True))
    return [one.message for one in build_mesh(given, memo).problems if one.code == "unknown-secret"]


def test_what_was_never_read_is_not_missed_by_who_asks_beforehand() -> None:
    """``weft validate --against-mesh`` of a Gateway whose Secret may well be in the cluster."""
    settings = MeshSettings(secrets_as_needed=True)
    before, after = ConfigSnapshot(1, settings=settings), ConfigSnapshot(2, documents(GATEWAY), settings=settings)
    memo = Memo()
    memo.begin()
    problems = build_mesh(after, memo).problems
    assert {one.code for one in problems} == {"unknown-secret", "reference-not-granted"}
    assert {one.code for one in without_unread(problems, before, after)} == {"reference-not-granted"}
    assert without_unread(problems, after, after) == problems, "it was looked for, and is not there"
