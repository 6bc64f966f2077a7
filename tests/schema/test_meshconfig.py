"""Mesh-wide settings as documents: their own kind, and text inside a ConfigMap with the lines of the file."""

from __future__ import annotations

import json

import pytest

from weft.model.origin import path_text
from weft.schema.decode import Decoded, decode_documents
from weft.schema.kinds.meshconfig import ConfigMapSpec, MeshConfigSpec

SETTINGS = """apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec:
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  trustDomain: example.org
  rootNamespace: root
  connectTimeout: 2s
  enableAutoMtls: true
  defaultHttpRetryPolicy: {attempts: 3, retryOn: "5xx"}
"""


def istio(mesh: str, more: str = "", name: str = "istio") -> Decoded:
    """The ConfigMap of Istio with `mesh` as a block of text that begins in line 5."""
    block = "".join(f"    {line}\n" for line in mesh.splitlines())
    text = f"apiVersion: v1\nkind: ConfigMap\ndata:\n  mesh: |-\n{block}{more}"
    return decode_documents(text + f"metadata: {{name: {name}, namespace: istio-system}}\n", "f.yaml")


def codes(decoded: Decoded) -> list[tuple[int, str, str]]:
    return [(problem.origin.line, problem.code, path_text(problem.path)) for problem in decoded.problems]


def test_the_fields_of_the_kind() -> None:
    (document,) = decode_documents(SETTINGS, "f").documents
    spec = document.spec
    assert isinstance(spec, MeshConfigSpec)
    assert spec.outbound_traffic_policy is not None
    assert spec.outbound_traffic_policy.mode == "REGISTRY_ONLY"
    assert (spec.trust_domain, spec.root_namespace, spec.connect_timeout) == ("example.org", "root", 2.0)
    assert spec.default_http_retry_policy is not None
    assert spec.default_http_retry_policy.attempts == 3


def test_what_has_no_effect_is_refused_by_name() -> None:
    fields = "enableEnvoyAccessLogService: true\npathNormalization: {}\n"
    fields += "defaultConfig: {drainDuration: 2s}\nmeshMTLS: {}\nrootnamespace: x\n"
    decoded = istio(fields + "enableAutoMtls: false\ntrustDomain: A.B\noutboundTrafficPolicy: {}")
    assert codes(decoded) == [
        (5, "unsupported-field", "data.mesh.enableEnvoyAccessLogService"),
        (6, "unsupported-field", "data.mesh.pathNormalization"),
        (7, "unsupported-field", "data.mesh.defaultConfig.drainDuration"),
        (8, "unsupported-field", "data.mesh.meshMTLS"),
        (9, "unknown-field", "data.mesh.rootnamespace"),
        (10, "bad-value", "data.mesh.enableAutoMtls"),
        (11, "bad-value", "data.mesh.trustDomain"),
        (12, "missing-field", "data.mesh.outboundTrafficPolicy"),
    ]
    assert decoded.documents == ()
    assert "not supported by weft yet" in decoded.problems[0].message
    assert decoded.problems[4].nearest == "rootNamespace"


def test_text_in_a_config_map_keeps_its_lines_and_the_document_its_text() -> None:
    decoded = istio("# a comment\nconnectTimeout: 1s\n", '  meshNetworks: "networks: {}"\n')
    assert decoded.problems == ()
    (document,) = decoded.documents
    assert isinstance(document.spec, ConfigMapSpec)
    assert document.spec.data.mesh == MeshConfigSpec(connect_timeout=1.0)
    assert document.at("data", "mesh", "connectTimeout").line == 6
    assert json.loads(document.text)["data"]["mesh"] == "# a comment\nconnectTimeout: 1s"


def test_text_that_is_no_mapping_of_settings_is_told() -> None:
    assert codes(istio("a: [")) == [(4, "syntax", "data.mesh")]
    assert codes(istio("a: 1\n---\nb: 2"))[0] == (4, "bad-value", "data.mesh")
    assert codes(istio("a: 1\na: 2"))[0] == (4, "duplicate-field", "data.mesh")
    assert codes(istio("just text")) == [(4, "wrong-type", "data.mesh")]
    assert istio("").problems == ()
    assert codes(istio("{}", "  meshNetworks: 'networks: {n: {}}'\n"))[0][1:] == (
        "unsupported-field",
        "data.meshNetworks",
    )


def test_default_retries_say_how_many() -> None:
    assert codes(istio("defaultHttpRetryPolicy: {retryOn: 5xx}"))[-1][1:] == (
        "missing-field",
        "data.mesh.defaultHttpRetryPolicy",
    )


def test_config_maps_of_applications_are_left_out_with_one_warning() -> None:
    decoded = istio("a: [", name="app")
    assert decoded.documents == ()
    assert codes(decoded) == [(2, "left-out", "")]
    assert not decoded.failed
    assert "ConfigMap istio-system/app is left out" in decoded.problems[0].message
    text = "---\n".join(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n}}}\n" for n in range(5))
    (problem,) = decode_documents(text, "f").problems
    assert problem.message.startswith("5 ConfigMaps (c0, …) are left out: ")


PORT = "extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: a.b.svc.cluster.local, port: %s}}]"


@pytest.mark.parametrize(("written", "meant"), [("9000", 9000), ('"9000"', 9000), ("'1'", 1)])
def test_ports_of_providers_may_stand_in_quotes(written: str, meant: int) -> None:
    (document,) = istio(PORT % written).documents
    assert isinstance(document.spec, ConfigMapSpec)
    assert document.spec.data.mesh is not None
    (found,) = document.spec.data.mesh.extension_providers
    assert found.envoy_ext_authz_grpc is not None
    assert found.envoy_ext_authz_grpc.port == meant


@pytest.mark.parametrize(
    ("written", "code"),
    [('"0"', "out-of-range"), ('"70000"', "out-of-range"), ("http", "wrong-type"), ("true", "wrong-type")],
)
def test_what_is_no_port_of_a_provider(written: str, code: str) -> None:
    assert codes(istio(PORT % written)) == [(4, code, "data.mesh.extensionProviders[0].envoyExtAuthzGrpc.port")]


def test_config_maps_of_applications_are_left_alone_and_parameters_are_not() -> None:
    text = """
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: n}
data: {service: "%s", other: "x"}
"""
    assert decode_documents(text % "http://web:80/", "f").documents == ()
    [found] = decode_documents(text % "spec: {type: NodePort}", "f").documents
    assert isinstance(found.spec, ConfigMapSpec)
    assert found.spec.data.service == "spec: {type: NodePort}"
    assert decode_documents(text % ("spec: " + "x" * 40000), "f").failed
