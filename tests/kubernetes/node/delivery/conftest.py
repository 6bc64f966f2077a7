"""A namespace of the mesh, the kinds of Argo Rollouts and Flagger, and their controllers as processes of the node."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tools.kubernetes_node import NodeCluster
from tools.progressive_delivery import FLAGGER, ROLLOUTS, definitions

from support.delivery import SPACE, prometheus_settings
from support.pod_apps import LOAD, account, as_list, deployment, namespace_of

PROMETHEUS = "198.18.0.1:9090"


@pytest.fixture(scope="module")
def space(weft_node: NodeCluster) -> NodeCluster:
    """With who calls."""
    node = weft_node
    for path in definitions():
        node.kubectl("apply", "--server-side", "-f", str(path))
    node.kubectl("wait", "--for=condition=Established", "crd", "rollouts.argoproj.io", "canaries.flagger.app")
    node.kubectl("apply", "-f", "-", given=namespace_of(SPACE, **{"istio-injection": "enabled"}))
    made = (account("front", SPACE), account("web", SPACE), deployment("front", SPACE))
    node.kubectl("apply", "-f", "-", given=as_list(*made))
    node.kubectl("rollout", "status", "-n", SPACE, "deployment/front", "--timeout=180s")
    return node


@contextlib.contextmanager
def running(node: NodeCluster, log: Path, command: Sequence[str]) -> Iterator[None]:
    """A process in the node's network, which ends with the context."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            node.command(["setpriv", "--pdeathsig=KILL", *command]),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def rollouts(space: NodeCluster) -> Iterator[Path]:
    """The controller of Argo Rollouts; its log."""
    log = space.directory / "rollouts.log"
    controller = str(ROLLOUTS.program("rollouts-controller"))
    own = ("--leader-elect=false", "--metricsPort=8190", "--healthzPort=8180")
    with running(space, log, [controller, f"--kubeconfig={space.inside}", *own]):
        yield log


@pytest.fixture(scope="module")
def flagger(space: NodeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The controller of Flagger, and a Prometheus that reads the metrics of the pods' proxies; its log."""
    assert shutil.which("prometheus"), "Flagger asks a Prometheus: apt-get install prometheus"
    log, data = space.directory / "flagger.log", tmp_path_factory.mktemp("prometheus")
    settings = data / "prometheus.json"
    settings.write_text(json.dumps(prometheus_settings(space.inside)))
    prometheus = ["prometheus", f"--config.file={settings}", f"--storage.tsdb.path={data}/data"]
    asked = [
        f"-kubeconfig={space.inside}",
        f"-metrics-server=http://{PROMETHEUS}",
        "-mesh-provider=istio",
        "-port=8280",
    ]
    with (
        running(space, space.directory / "prometheus.log", [*prometheus, f"--web.listen-address={PROMETHEUS}"]),
        running(space, log, [str(FLAGGER.program("flagger")), *asked]),
    ):
        yield log


@pytest.fixture
def load(space: NodeCluster) -> Callable[[str], AbstractContextManager[dict[str, int]]]:
    """100 requests a second at a host; the statuses are in the dictionary when the context has ended."""

    @contextlib.contextmanager
    def at(host: str) -> Iterator[dict[str, int]]:
        counts: dict[str, int] = {}
        stop = f"/tmp/stop-{uuid.uuid4().hex}"
        execute = ("exec", "-n", SPACE, "deploy/front", "-c", "app", "--")
        process = space.start_kubectl(*execute, "python3", "-c", LOAD, host, "100", stop)
        try:
            yield counts
        finally:
            space.kubectl(*execute, "touch", stop)
            said, _ = process.communicate(timeout=60)
        counts |= json.loads(said)["counts"]

    return at
