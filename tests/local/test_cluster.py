"""Which cluster is meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.local.cluster import Cluster, ClusterError, named_cluster, usual_files, wanted_cluster


def test_what_is_given_goes_before_what_kubectl_has(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.touch()
    kubectl = {"KUBECONFIG": f"{first}:{second}:", "HOME": str(tmp_path)}
    assert named_cluster(kubectl) is None
    assert wanted_cluster(kubectl) == Cluster((first,))
    given = {**kubectl, "WEFT_KUBECONFIG": str(second), "WEFT_CONTEXT": "prod", "WEFT_KUBE_NAMESPACE": "mesh"}
    assert named_cluster(given) == wanted_cluster(given) == Cluster((second,), "prod", "mesh")
    assert named_cluster({**kubectl, "WEFT_CONTEXT": "prod"}) == Cluster((first,), "prod")


def test_the_file_of_the_home_is_the_last(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    assert usual_files(environment) == ()
    with pytest.raises(ClusterError, match=r"no kubeconfig file.*give --kubeconfig FILE"):
        wanted_cluster(environment)
    usual = tmp_path / ".kube" / "config"
    usual.parent.mkdir()
    usual.touch()
    assert usual_files(environment) == (usual,)
    assert usual_files({**environment, "KUBECONFIG": str(tmp_path / "none")}) == ()
