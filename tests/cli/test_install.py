"""`weft install` without a cluster: what it prints, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from weft import __version__
from weft.testing.processes import cli


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--set", "a=b"), "--set is for what Helm renders: helm install weft charts/weft -n weft-system --set a=b"),
        (("-f", "values.yaml"), "--values is for what Helm renders"),
        ((), "no image is published, so one must be given"),
        (("--image=A b",), "the image 'A b' cannot be"),
        (("--image=a", "--no-injection"), "expected --no-gateways beside --no-injection"),
        (("--image=a", "--no-injection", "--no-gateways", "--cni"), "expected no --cni beside --no-injection"),
        (("--image=a", "--kube-namespace=A"), "the namespace 'A' cannot be"),
    ],
)
def test_words_that_cannot_be(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    done = cli(tmp_path, "install", "-o", "yaml", *words, check=False)
    assert done.returncode == 2
    assert told in done.stderr


def test_manifests_for_gitops(tmp_path: Path) -> None:
    words = ("--image=localhost:5000/weft", "--kube-namespace=mesh", "--replicas=3", "--cni")
    objects = list(yaml.safe_load_all(cli(tmp_path, "install", "-o", "yaml", *words).stdout))
    assert [each["kind"] for each in objects][:2] == ["Namespace", "CustomResourceDefinition"]
    assert objects[-1]["kind"] == "ValidatingWebhookConfiguration"
    found = {each["kind"]: each for each in objects}
    assert found["Deployment"]["metadata"]["namespace"] == "mesh"
    assert found["Deployment"]["spec"]["replicas"] == 3
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"localhost:5000/weft:{__version__}"
    (agent,) = found["DaemonSet"]["spec"]["template"]["spec"]["containers"]
    assert agent["image"] == f"localhost:5000/weft-cni:{__version__}"
    assert "weft.invalid" not in str(objects)


def test_there_is_no_cluster(tmp_path: Path) -> None:
    done = cli(tmp_path, "install", "--image=a", f"--kubeconfig={tmp_path / 'none'}", check=False)
    assert done.returncode == 1
    assert "none cannot be read" in done.stderr or "no such file" in done.stderr.lower()
