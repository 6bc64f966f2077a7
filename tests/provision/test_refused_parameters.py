"""What parameters of Gateways may not say: whoever writes a ConfigMap gains no code, no right and nobody's nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from provision.test_parameters import HOST, PODS, in_container, in_pod, made, plans
from weft.model.problem import Severity
from weft.provision.manifests import objects_of


def apart(**term: Any) -> dict[str, Any]:
    """Pods that are never beside others."""
    return in_pod(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})


REFUSED: tuple[tuple[Mapping[str, Any], str], ...] = (
    (in_pod(hostNetwork=True), "nothing of their node"),
    (in_pod(hostPID=True), "nothing of their node"),
    (in_pod(hostIPC=True), "nothing of their node"),
    (in_pod(shareProcessNamespace=True), "nothing of their node"),
    (in_pod(nodeName="one"), "the scheduler chooses"),
    (in_pod(volumes=[{"name": "x", "hostPath": {"path": "/"}}]), "what runs with the keys"),
    (in_pod(initContainers=[{"name": "x", "image": "x"}]), "what runs with the keys"),
    (in_pod(ephemeralContainers=[]), "what runs with the keys"),
    (in_pod(serviceAccountName="admin"), "service account of its own"),
    (in_pod(serviceAccount="admin"), "service account of its own"),
    (in_pod(automountServiceAccountToken=True), "service account of its own"),
    (in_pod(securityContext={"runAsUser": 0}), "no right beyond"),
    (in_pod(securityContext=None), "no right beyond"),
    (in_pod(hostAliases=[]), "names mean"),
    (in_pod(dnsConfig={}), "names mean"),
    (in_pod(priorityClassName="system-node-critical"), "what a cluster cannot be without"),
    (apart(**HOST, namespaceSelector={}), "kept off nodes"),
    (apart(**HOST, namespaces=["shop"]), "kept off nodes"),
    (apart(topologyKey="topology.kubernetes.io/zone"), "kubernetes.io/hostname"),
    (in_pod(containers=[{"name": "mine", "image": "x"}]), "istio-proxy"),
    (in_pod(containers=None), "weft needs it"),
    (in_pod(containers=[{"name": "weft-proxy", "$patch": "delete"}]), "no directive"),
    (in_pod(containers=[{"resources": {}}]), "the field 'name' is missing"),
    (in_pod(containers=[{"name": "weft-proxy"}, {"name": "weft-proxy"}]), "given twice"),
    *(
        (in_container(**{name: value}), words)
        for name, value, words in (
            ("image", "mine:1", "what runs with the keys"),
            ("command", ["sh"], "what runs with the keys"),
            ("args", ["x"], "what runs with the keys"),
            ("env", [{"name": "WEFT_SERVER", "value": "mine"}], "what runs with the keys"),
            ("envFrom", [{"secretRef": {"name": "x"}}], "what runs with the keys"),
            ("lifecycle", {"preStop": {"exec": {"command": ["sh"]}}}, "what runs with the keys"),
            ("volumeMounts", [{"name": "token", "mountPath": "/x"}], "what runs with the keys"),
            ("securityContext", {"privileged": True}, "no right beyond"),
            ("securityContext", {"capabilities": {"add": ["SYS_ADMIN"]}}, "no right beyond"),
            ("securityContext", {"allowPrivilegeEscalation": True}, "no right beyond"),
            ("readinessProbe", {"exec": {"command": ["sh"]}}, "how its proxies are asked"),
        )
    ),
    *(
        ({key: {"metadata": {name: value}}}, "weft knows its objects by it")
        for key in ("deployment", "service", "serviceAccount", "horizontalPodAutoscaler", "podDisruptionBudget")
        for name, value in (("name", "other"), ("namespace", "kube-system"), ("ownerReferences", []))
    ),
    *(
        ({key: {"metadata": {"labels": {name: "x"}}}}, "weft knows its objects by it")
        for key in ("deployment", "service")
        for name in ("gateway.networking.k8s.io/gateway-name", "app.kubernetes.io/managed-by", "weft.dev/rev")
    ),
    (
        {"deployment": {"spec": {"template": {"metadata": {"labels": {"team": None}}}}}},
        "policies go by them",
    ),
    *(
        ({"deployment": {"spec": {"template": {"metadata": {"annotations": {name: "x"}}}}}}, words)
        for name, words in (
            ("weft.dev/x", "weft knows its objects by it"),
            *(
                (name, "'spec.infrastructure.annotations' of the Gateway has it")
                for name in (
                    "proxy.istio.io/config",
                    "vault.hashicorp.com/agent-inject-image",
                    "linkerd.io/inject",
                    "dapr.io/enabled",
                    "instrumentation.opentelemetry.io/inject-sdk",
                    "iam.amazonaws.com/role",
                    "k8s.v1.cni.cncf.io/networks",
                    "cni.projectcalico.org/ipAddrs",
                    "cdi.k8s.io/gpu",
                    "io.kubernetes.cri-o.userns-mode",
                    "some-webhook",
                )
            ),
        )
    ),
    ({"deployment": {"metadata": {"annotations": {"sidecar.jaegertracing.io/inject": "true"}}}}, "act by it"),
    ({"service": {"metadata": {"annotations": {"weft.dev/x": "y"}}}}, "weft knows its objects by it"),
    *(
        ({"service": {"metadata": {"annotations": {name: "x"}}}}, "'spec.addresses' of the Gateway says")
        for name in (
            "metallb.universe.tf/loadBalancerIPs",
            "metallb.io/loadBalancerIPs",
            "metallb.io/allow-shared-ip",
            "io.cilium/lb-ipam-ips",
            "lbipam.cilium.io/ips",
            "lbipam.cilium.io/sharing-key",
            "external-dns.alpha.kubernetes.io/hostname",
            "external-dns.alpha.kubernetes.io/target",
            "kube-vip.io/loadbalancerIPs",
            "kube-vip.io/loadbalancerHostname",
            "projectcalico.org/loadBalancerIPs",
            "networking.gke.io/load-balancer-ip-addresses",
            "service.beta.kubernetes.io/azure-load-balancer-ipv4",
            "service.beta.kubernetes.io/azure-pip-name",
            "service.beta.kubernetes.io/azure-dns-label-name",
            "service.beta.kubernetes.io/aws-load-balancer-eip-allocations",
            "service.beta.kubernetes.io/aws-load-balancer-private-ipv4-addresses",
            "loadbalancer.openstack.org/load-balancer-address",
            "loadbalancer.openstack.org/load-balancer-id",
            "load-balancer.hetzner.cloud/hostname",
        )
    ),
    (
        {"deployment": {"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/x": "y"}}}},
        "no right beyond",
    ),
    ({"deployment": {"metadata": {"labels": None}, "spec": {"selector": {}}}}, "weft knows its objects by it"),
    ({"deployment": {"metadata": None}}, "weft needs it"),
    ({"deployment": {"spec": {"paused": True}}}, "would not follow"),
    ({"deployment": {"kind": "DaemonSet"}}, "found 'DaemonSet'"),
    ({"deployment": {"status": {}}}, "Kubernetes' own"),
    ({"service": {"spec": {"selector": {"app": "other"}}}}, "weft knows its objects by it"),
    ({"service": {"spec": {"externalIPs": ["192.0.2.1"]}}}, "connections that are for others"),
    ({"service": {"spec": {"type": "ExternalName"}}}, "found 'ExternalName'"),
    ({"service": {"spec": {"externalName": "x.example"}}}, "connections that are for others"),
    ({"service": {"spec": {"clusterIP": "10.0.0.1"}}}, "'spec.addresses'"),
    ({"service": {"spec": {"loadBalancerIP": "10.0.0.1"}}}, "'spec.addresses'"),
    ({"service": {"spec": {"ports": [{"port": 80, "targetPort": 22}]}}}, "listeners say it"),
    ({"service": {"spec": {"ports": None}}}, "weft needs it"),
    ({"service": {"spec": {"ports": [{"port": 80, "$patch": "replace"}]}}}, "found 'replace'"),
    ({"service": "null"}, "weft needs it"),
    ({"serviceAccount": {"metadata": {"annotations": {"role": "admin"}}}}, "clouds give rights by them"),
    ({"serviceAccount": {"secrets": []}}, "service account of its own"),
    ({"horizontalPodAutoscaler": {"spec": {"scaleTargetRef": {"name": "other"}}}}, "weft knows its objects by it"),
    ({"podDisruptionBudget": {"spec": {"selector": {}}}}, "weft knows its objects by it"),
    ({"rolebinding": {"roleRef": {}}, "service": {}}, "unknown key 'rolebinding'"),
)


@pytest.mark.parametrize(("own", "words"), REFUSED)
def test_what_would_make_weft_a_dangerous_deputy_is_refused(own: Mapping[str, Any], words: str) -> None:
    found = plans(own)
    assert not found.plans, "what runs stays as it is"
    assert any(words in each.message or words in each.expected for each in found.problems), found.problems
    for each in found.problems:
        assert each.code == "invalid-parameters"
        assert each.path[:3] == ("spec", "infrastructure", "parametersRef")
        assert each.message.startswith("ConfigMap edge/sizes: ")


def test_how_a_load_balancer_is_made_may_be_said() -> None:
    names = (
        "service.beta.kubernetes.io/aws-load-balancer-type",
        "service.beta.kubernetes.io/aws-load-balancer-scheme",
        "service.beta.kubernetes.io/aws-load-balancer-ip-address-type",
        "service.beta.kubernetes.io/azure-load-balancer-internal",
        "networking.gke.io/load-balancer-type",
        "load-balancer.hetzner.cloud/use-private-ip",
        "metallb.io/address-pool",
    )
    annotations = dict.fromkeys(names, "x")
    service = made({"service": {"metadata": {"annotations": annotations}}})["Service"]
    assert annotations.items() <= service["metadata"]["annotations"].items()


def test_what_the_document_says_itself_stays() -> None:
    names = {"annotations": {"cost": None, "more": "yes"}, "labels": {"team": "theirs", "of": "edge"}}
    own = {"service": {"metadata": names}, "deployment": {"metadata": {"labels": {"team": None}}}}
    found = plans(own)
    told = [(each.code, each.severity, each.path) for each in found.problems]
    assert told == [("no-effect", Severity.WARNING, ("spec", "infrastructure", "parametersRef"))] * 3
    assert {each.message for each in found.problems} == {
        f"ConfigMap edge/sizes: {where}: 'spec.infrastructure' of the Gateway says it"
        for where in (
            "service.metadata.annotations.cost", "service.metadata.labels.team", "deployment.metadata.labels.team"
        )
    }  # fmt: skip
    [one] = found.plans
    objects = {each.body["kind"]: each.body["metadata"] for each in objects_of(one, PODS)}
    assert objects["Service"]["annotations"] == {"cost": "low", "more": "yes"}
    assert objects["Service"]["labels"].items() >= {"team": "shop", "of": "edge"}.items()
    assert objects["Deployment"]["labels"]["team"] == "shop"
    assert not plans(None, own).problems, "a class speaks for Gateways that do not"
    assert made(None, own)["Service"]["metadata"]["annotations"] == {"cost": "low", "more": "yes"}
