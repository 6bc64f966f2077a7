"""A Kubernetes API for the tests of each file, which meet in it, with the Gateway API, weft's kinds, two of Istio."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tools.kubernetes import gateway_api
from tools.kubernetes_cluster import ApiCluster

from support.chart import ACCOUNT, CHART
from support.kubernetes import Api, definition


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiCluster]:
    cluster = ApiCluster(tmp_path_factory.mktemp("kubernetes") / "cluster", audited=(ACCOUNT,))
    cluster.start()
    try:
        cluster.kubectl("apply", "--server-side", "-f", str(gateway_api()), "-f", str(CHART / "crds"))
        items = [
            definition("security.istio.io", "AuthorizationPolicy", "authorizationpolicies", "v1"),
            definition("networking.istio.io", "DestinationRule", "destinationrules", "v1"),
        ]
        cluster.kubectl("apply", "-f", "-", given={"apiVersion": "v1", "kind": "List", "items": items})
        for each in items:
            cluster.kubectl("wait", "--for=condition=Established", "crd", each["metadata"]["name"], "--timeout=60s")
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def api(cluster: ApiCluster) -> Api:
    """The administrator's API."""
    return Api(cluster.kubeconfig("admin"))


@pytest.fixture
async def namespace(api: Api, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[5:60].rstrip("-")
    await api.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return str(name)
