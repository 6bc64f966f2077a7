"""cert-manager in a cluster of tests: what its chart makes, but for Pods; roots, issuers, and weft's own account."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

import yaml
from tools.cert_manager import chart
from tools.kubernetes_cluster import ApiCluster
from tools.kubernetes_pki import write_kubeconfig

from support.chart import NAMESPACE, helm, rendered
from support.kubernetes import rules

OWN = "cert-manager"
_APPLIED = (
    "CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
    "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
)  # fmt: skip
ISSUERS = {
    "Issuer/mesh": "issuers.cert-manager.io/weft-system.mesh",
    "ClusterIssuer/mesh": "clusterissuers.cert-manager.io/mesh",
}
_CHANGING = "issuers.cert-manager.io/weft-system.changing"
"""cert-manager approves requests to these by itself here; so it calls them."""


class CertManager:
    """One that runs in a cluster with weft's account, and roots for its issuers."""

    def __init__(self, cluster: ApiCluster, directory: Path) -> None:
        self.cluster = cluster
        self._directory = directory
        self.log = directory / "cert-manager.log"
        self.roots: dict[str, Path] = {}

    def apply(self, *objects: dict[str, Any], server_side: bool = False) -> None:
        """As the administrator."""
        how = ("--server-side",) if server_side else ()
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.cluster.kubectl("apply", *how, "-f", "-", given=listed)

    def objects(self, port: int) -> list[dict[str, Any]]:
        """What its chart makes, with a webhook at a port of the loopback."""
        values = {
            "crds": {"enabled": True},
            "approveSignerNames": [*ISSUERS.values(), _CHANGING],
            "webhook": {"url": {"host": f"127.0.0.1:{port}"}},
        }
        text = helm("template", OWN, str(chart()), "-n", OWN, home=self._directory, values=values)
        found = [one for one in yaml.safe_load_all(text) if one is not None and one["kind"] in _APPLIED]
        authority = base64.b64encode((self.cluster.pki / "ca.crt").read_bytes()).decode()
        for one in found:
            for webhook in one.get("webhooks", ()):
                webhook["clientConfig"]["caBundle"] = authority  # its third part, the injector, would put it there
        return found

    def kubeconfig(self, account: str, namespace: str = OWN) -> Path:
        """The file of an account."""
        token = self.cluster.kubectl("create", "token", account, "-n", namespace).strip()
        path = self._directory / f"{account}.kubeconfig"
        write_kubeconfig(path, self.cluster.server, self.cluster.pki, token=token)
        return path

    def weft(self) -> Path:
        """The kubeconfig file of weft's account, which may read documents, and what its chart lets it do to have its
        intermediate signed: no more."""
        values = {"ca": {"issuer": "ClusterIssuer/mesh", "roots": f"configmap/{NAMESPACE}/roots"}}
        made = rendered(self._directory, values)
        ours = [one for one in made if one["metadata"]["name"] in ("weft-authority", "weft-roots")]
        assert sorted(one["kind"] for one in ours) == ["Role", "Role", "RoleBinding", "RoleBinding"]
        group = "rbac.authorization.k8s.io"
        subjects = [{"kind": "ServiceAccount", "name": "weft", "namespace": NAMESPACE}]
        reads = {"kind": "ClusterRole", "name": "reads", "apiGroup": group}
        self.apply(
            named("ServiceAccount", f"{NAMESPACE}/weft"),
            named("ClusterRole", "reads", version=f"{group}/v1", rules=rules()),
            named("ClusterRoleBinding", "reads", version=f"{group}/v1", subjects=subjects, roleRef=reads),
            *ours,
        )
        return self.kubeconfig("weft", NAMESPACE)

    def root(self, name: str, *secrets: str, config_map: str = "roots") -> Path:
        """A root of openssl, in Secrets (``NAMESPACE/NAME``) for issuers and, as whom to trust, in a ConfigMap."""
        place = self._directory / name
        place.mkdir()
        openssl = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        files = ("-keyout", str(place / "tls.key"), "-out", str(place / "ca.crt"))
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        about = ("-subj", f"/O=Example/CN={name}", "-days", "3650", *usage)
        subprocess.run([*openssl, *about, *files], check=True, capture_output=True)
        certificate, key = (place / "ca.crt").read_text(), (place / "tls.key").read_text()
        held = {"tls.crt": certificate, "tls.key": key}
        self.apply(
            *(named("Secret", secret, type="kubernetes.io/tls", stringData=held) for secret in secrets),
            named("ConfigMap", f"{NAMESPACE}/{config_map}", data={"ca.crt": certificate}),
        )
        self.roots[name] = place / "ca.crt"
        return self.roots[name]

    def issuer(self, kind: str, name: str, secret: str) -> None:
        """An issuer by the root of a Secret; one that is ready."""
        about = f"{NAMESPACE}/{name}" if kind == "Issuer" else name
        self.apply(named(kind, about, version="cert-manager.io/v1", spec={"ca": {"secretName": secret}}))
        where = ("-n", NAMESPACE) if kind == "Issuer" else ()
        self.cluster.kubectl("wait", "--for=condition=Ready", kind.lower(), name, *where, "--timeout=90s")


def named(kind: str, about: str, version: str = "v1", **rest: Any) -> dict[str, Any]:
    """An object called ``NAMESPACE/NAME``, or ``NAME``."""
    namespace, _, name = about.rpartition("/")
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}
