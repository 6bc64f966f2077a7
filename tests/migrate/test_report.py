"""What becomes of an installation: each field once, with its place, and nothing left out without a word."""

from __future__ import annotations

import pytest

from weft.migrate import consul_words, istio_words, linkerd_words
from weft.migrate.report import CONSUL, ISTIO, LINKERD, Report, examine
from weft.migrate.words import Verdict
from weft.model.origin import path_text

OPERATOR = """
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: prod, namespace: istio-system}
spec:
  meshConfig:
    accessLogFile: /dev/stdout
    enableAutoMtls: false
  components:
    ingressGateways:
    - {name: istio-ingressgateway, enabled: true}
  values:
    global:
      proxy: {privileged: false, logLevl: warning}
      multiCluster: {clusterName: one}
    pilot: {traceSampling: 1, env: {PILOT_HTTP10: "1"}}
"""
WORKLOAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    metadata:
      annotations: {KEY: "VALUE"}
"""


def told(report: Report) -> dict[str, Verdict]:
    """The verdict by place and field, without what is said of kinds."""
    return {
        f"{line.origin.line} {path_text(line.path)}".rstrip(): line.verdict
        for line in report.lines
        if not line.subject.startswith(("every ", "the whole"))
    }


def test_an_operator_is_judged_field_by_field() -> None:
    report = examine([("op.yaml", OPERATOR)], ISTIO)
    assert told(report) == {
        "6 spec.meshConfig": Verdict.SAME,
        "8 spec.meshConfig.enableAutoMtls": Verdict.MISSING,
        "10 spec.components.ingressGateways": Verdict.DIFFERS,
        "14 spec.values.global.proxy.logLevl": Verdict.MISSING,
        "15 spec.values.global.multiCluster": Verdict.MISSING,
        "16 spec.values.pilot.traceSampling": Verdict.DIFFERS,
        "16 spec.values.pilot.env.PILOT_HTTP10": Verdict.DIFFERS,
    }
    assert not report.unreadable
    (mistyped,) = (line for line in report.lines if line.path[-1:] == ("logLevl",))
    assert "did you mean 'logLevel'?" in mistyped.text
    (settings,) = report.of(Verdict.SAME)
    assert settings.text.startswith("accessLogFile: ")
    assert any(line.subject == "every MeshConfig" for line in report.of(Verdict.DIFFERS))


@pytest.mark.parametrize(
    "values",
    [
        "pilot: {env: {PILOT_HTTP10: '1'}}",
        "env: {PILOT_HTTP10: '1'}",
        "_internal_defaults_do_not_edit: {env: {PILOT_HTTP10: '1'}}",
        "defaults: {pilot: {env: {PILOT_HTTP10: '1'}}}",
    ],
)
def test_values_of_all_charts_are_known(values: str) -> None:
    report = examine([("values.yaml", values)], ISTIO)
    (line,) = report.lines
    assert (line.verdict, line.path[-1]) == (Verdict.DIFFERS, "PILOT_HTTP10")
    assert "pilot" not in line.path or "pilot" in values


def test_values_of_others_are_no_values() -> None:
    report = examine([("values.yaml", "pilots: {a: 1}")], ISTIO)
    assert not report.lines
    (problem,) = report.unreadable
    assert "'pilots' is no value of Istio's charts; did you mean 'pilot'?" in str(problem)
    assert [str(one) for one in examine([("x", "pilot: {a: 1}")], LINKERD).unreadable]
    assert examine([("x", "- a")], ISTIO).unreadable
    assert examine([("x", "a: [")], ISTIO).unreadable


@pytest.mark.parametrize(
    ("mesh", "key", "value", "verdict"),
    [
        (ISTIO, "traffic.sidecar.istio.io/excludeOutboundPorts", "3306", Verdict.SAME),
        (ISTIO, "sidecar.istio.io/logLevel", "debug", Verdict.DIFFERS),
        (ISTIO, "sidecar.istio.io/interceptionMode", "TPROXY", Verdict.MISSING),
        (ISTIO, "sidecar.istio.io/interceptionMode", "REDIRECT", Verdict.SAME),
        (ISTIO, "istio.io/dataplane-mode", "ambient", Verdict.MISSING),
        (ISTIO, "traffic.sidecar.istio.io/new", "1", Verdict.MISSING),
        (LINKERD, "linkerd.io/inject", "enabled", Verdict.DIFFERS),
        (LINKERD, "config.linkerd.io/proxy-log-level", "debug", Verdict.MISSING),
        (LINKERD, "config.linkerd.io/proxy-cpu-limit", "1", Verdict.DIFFERS),
        (CONSUL, "consul.hashicorp.com/transparent-proxy-exclude-inbound-ports", "1", Verdict.DIFFERS),
        (CONSUL, "consul.hashicorp.com/new", "1", Verdict.MISSING),
    ],
)
def test_annotations_of_pods(mesh: str, key: str, value: str, verdict: Verdict) -> None:
    report = examine([("w.yaml", WORKLOAD.replace("KEY", key).replace("VALUE", value))], mesh)
    (line,) = report.lines
    assert (line.verdict, line.origin.line, line.path[-1]) == (verdict, 8, key)
    assert line.text.startswith(f"{key}: ") or line.text == f"{key}: what weft does anyway"


@pytest.mark.parametrize("mesh", [ISTIO, LINKERD, CONSUL])
def test_other_annotations_are_nobodys_business(mesh: str) -> None:
    assert not examine(
        [("w.yaml", WORKLOAD.replace("KEY", "prometheus.io/scrape").replace("VALUE", "true"))], mesh
    ).lines


def test_documents_are_judged_by_the_decoder() -> None:
    texts = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: good, namespace: shop}
spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bad, namespace: shop}
spec: {hosts: [web], https: []}
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: a, namespace: shop}
spec: {}
"""
    report = examine([("a.yaml", texts)], ISTIO)
    verdicts = {line.subject: line.verdict for line in report.lines}
    assert verdicts["VirtualService shop/good"] is Verdict.SAME
    assert verdicts["VirtualService shop/bad"] is Verdict.MISSING
    assert verdicts["WasmPlugin shop/a"] is Verdict.MISSING
    assert verdicts["the whole mesh"] is Verdict.DIFFERS
    order = [line.verdict for line in report.lines]
    assert order == sorted(order, key=[Verdict.MISSING, Verdict.DIFFERS, Verdict.SAME, Verdict.NEEDLESS].index)
    permissive = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: PERMISSIVE}}
"""
    again = examine([("a.yaml", texts + permissive)], ISTIO)
    assert not [line for line in again.lines if line.subject == "the whole mesh"]


def test_linkerds_kinds() -> None:
    texts = """
apiVersion: policy.linkerd.io/v1beta3
kind: Server
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  port: 8080
  proxyProtocol: HTTP/1
---
apiVersion: policy.linkerd.io/v1alpha1
kind: Nothing
metadata: {name: web, namespace: shop}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec: {parentRefs: [{name: web, kind: Service, group: "", port: 80}], rules: [{backendRefs: [{name: web, port: 80}]}]}
"""
    report = examine([("l.yaml", texts)], LINKERD)
    assert told(report) == {
        "6 spec.podSelector": Verdict.DIFFERS,
        "7 spec.port": Verdict.DIFFERS,
        "8 spec.proxyProtocol": Verdict.DIFFERS,
        "10": Verdict.MISSING,
        "14": Verdict.SAME,
    }


def test_consuls_kinds() -> None:
    texts = """
apiVersion: consul.hashicorp.com/v1alpha1
kind: ServiceIntentions
metadata: {name: web}
spec:
  destination: {name: web}
  sources:
  - {name: front, action: allow}
  - {name: "*", action: deny, peer: far}
  - name: api
    permissions: [{action: allow, http: {pathPrefix: /}, new: 1}]
"""
    report = examine([("c.yaml", texts)], CONSUL)
    assert told(report) == {
        "6 spec.destination": Verdict.DIFFERS,
        "7 spec.sources": Verdict.DIFFERS,
        "8 spec.sources[0].action": Verdict.DIFFERS,
        "9 spec.sources[1].action": Verdict.DIFFERS,
        "9 spec.sources[1].peer": Verdict.MISSING,
        "11 spec.sources[2].permissions": Verdict.DIFFERS,
    }


def test_every_word_says_something() -> None:
    tables = [istio_words.VALUES, istio_words.OPERATOR, *linkerd_words.KINDS.values(), *consul_words.KINDS.values()]
    for table in tables:
        for path, word in table.items():
            assert word.text, path
            assert not word.text.endswith("."), path
