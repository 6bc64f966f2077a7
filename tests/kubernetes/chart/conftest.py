"""One Kubernetes API for all tests of this room, with the Gateway API and weft's kinds, which notes what weft asks.

It takes the place of the API of the other rooms: `api` and `namespace` are of this cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from tools.kubernetes import gateway_api
from tools.kubernetes_cluster import ApiCluster

from support.chart import ACCOUNT, CHART
from support.mesh import until


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiCluster]:
    cluster = ApiCluster(tmp_path_factory.mktemp("kubernetes") / "cluster", audited=(ACCOUNT,))
    cluster.start()
    try:
        cluster.kubectl("apply", "--server-side", "-f", str(gateway_api()), "-f", str(CHART / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        for kind in ("healthcheckpolicies", "ratelimitpolicies"):
            until("the kind is described", partial(cluster.kubectl, "explain", f"{kind}.spec"))
        yield cluster
    finally:
        cluster.stop()
