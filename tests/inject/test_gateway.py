"""The pods of a Gateway's process."""

from __future__ import annotations

from weft.inject.gateway import gateway_pod_spec
from weft.inject.settings import InjectionSettings

SETTINGS = InjectionSettings("weft.test/weft:1", "weft.weft-system.svc:15013", "sha256:" + "ab" * 32)


def test_a_proxy_alone_without_rights() -> None:
    spec = gateway_pod_spec(SETTINGS)
    [container] = spec["containers"]
    assert container["name"] == "weft-proxy"
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["runAsNonRoot"]
    assert "lifecycle" not in container
    assert "restartPolicy" not in container
    sysctls = spec["securityContext"]["sysctls"]
    assert sysctls == [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}], "ports below 1024, as no root"
    assert not spec["automountServiceAccountToken"], "its token for the mesh is all that it needs"


def test_it_is_told_which_gateway_it_is() -> None:
    [container] = gateway_pod_spec(SETTINGS)["containers"]
    found = {each["name"]: each for each in container["env"]}
    path = found["WEFT_POD_GATEWAY"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert path == "metadata.labels['gateway.networking.k8s.io/gateway-name']"
    assert found["WEFT_GRACE_SECONDS"]["value"] == "60"
