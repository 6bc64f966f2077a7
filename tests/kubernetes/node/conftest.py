"""One Kubernetes with a node for all tests of this room, with the Gateway API and weft's own images.

It takes the place of the API without a node: `api` and `namespace` are of this cluster.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.images.base import default_sources
from tools.images.build import TEST_REGISTRY, TEST_TAG, build_images
from tools.kubernetes import gateway_api, istio
from tools.kubernetes_mesh import install
from tools.kubernetes_node import NodeCluster
from tools.packages.payload import ROOT

_HERE = Path(__file__).parent
_LONG = 900.0
"""For the first test of a worker, which makes images and cluster: what waits inside of it gives up before."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time for what comes before a test."""
    for item in items:
        if _HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_LONG))


@pytest.fixture(scope="session")
def images() -> list[Path]:
    """The images of this checkout, ``weft.test/weft:1`` and ``weft.test/weft-proxy:1``, as archives."""
    (ROOT / "build").mkdir(exist_ok=True)
    with (ROOT / "build" / "images.lock").open("w") as lock:  # another worker may be at the same place
        fcntl.flock(lock, fcntl.LOCK_EX)
        return build_images(ROOT / "build" / "images", default_sources(), TEST_REGISTRY, TEST_TAG)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, images: list[Path]) -> Iterator[NodeCluster]:
    cluster = NodeCluster(tmp_path_factory.mktemp("kubernetes") / "node")
    cluster.start()
    try:
        cluster.kubectl("apply", "--server-side", "-f", str(gateway_api()))
        for archive in images:
            cluster.import_image(archive)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def weft_node(cluster: NodeCluster) -> NodeCluster:
    """The same with weft installed by its chart, and Istio's kinds as Istio defines them."""
    cluster.kubectl("apply", "--server-side", "-f", str(istio()))
    install(cluster)
    return cluster
