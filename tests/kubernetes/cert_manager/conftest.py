"""cert-manager as its chart installs it, but for Pods: its controllers and its webhook are one process, which asks the
API server as its own accounts with their own rights."""

from __future__ import annotations

import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.cert_manager import PROGRAMS
from tools.kubernetes_cluster import ApiCluster, free_ports

from support.cert_manager import OWN, CertManager, named
from support.chart import NAMESPACE
from support.mesh import until


@pytest.fixture(scope="module")
def weft(manager: CertManager) -> Path:
    """The kubeconfig file of weft's account."""
    return manager.weft()


@pytest.fixture(scope="module")
def manager(cluster: ApiCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CertManager]:
    directory = tmp_path_factory.mktemp("cert-manager")
    manager = CertManager(cluster, directory)
    ports = free_ports("webhook", "health")
    manager.apply(*(named("Namespace", name) for name in (OWN, NAMESPACE)))
    objects = manager.objects(ports["webhook"])
    webhooks = [one for one in objects if "webhooks" in one]
    manager.apply(*(one for one in objects if "webhooks" not in one), server_side=True)
    kinds = [f"{each}.cert-manager.io" for each in ("certificaterequests", "issuers", "clusterissuers")]
    cluster.kubectl("wait", "--for=condition=Established", "crd", *kinds, "--timeout=60s")
    assert cluster.authority
    cluster.authority.issue("cert-manager", "cert-manager-webhook", addresses=("127.0.0.1",))
    command = [
        str(PROGRAMS.program("cert-manager")),
        f"--kubeconfig={manager.kubeconfig('cert-manager')}",
        f"--webhook-kubeconfig={manager.kubeconfig('cert-manager-webhook')}",
        f"--webhook-port={ports['webhook']}",
        f"--health-port={ports['health']}",
        f"--webhook-certificate={cluster.pki / 'cert-manager.crt'}",
        f"--webhook-key={cluster.pki / 'cert-manager.key'}",
    ]
    with manager.log.open("wb") as log:
        ends = ["setpriv", "--pdeathsig=KILL"]
        process = subprocess.Popen([*ends, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        manager.apply(*webhooks)
        manager.root("root", f"{OWN}/mesh", f"{NAMESPACE}/mesh")

        def answers() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"cert-manager ended:\n{manager.log.read_text()[-2000:]}")
            with urllib.request.urlopen(f"http://127.0.0.1:{ports['health']}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)

        until("cert-manager answers", answers, 120)
        manager.issuer("ClusterIssuer", "mesh", "mesh")
        manager.issuer("Issuer", "mesh", "mesh")
        yield manager
    finally:
        process.terminate()
        process.wait(30)
