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
        (("--image=a", "--revision=A"), "--revision: found 'A', expected lower-case letters, digits and '-'"),
        (("--image=a", "--revision=a-view"), "--revision: 'a-view' cannot be"),
        (("--image=a", "--revision-tag="), "--revision-tag: found '', expected lower-case letters"),
        (("--image=a", "--revision-tag=default"), "the revision is called default already"),
        (("--image=a", "--revision-tag=b", "--no-revision-tags"), "say one of them"),
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


def test_manifests_of_another_revision(tmp_path: Path) -> None:
    words = ("--image=a", "--revision=canary", "--revision-tag=prod", "--revision-tag=test", "--revision-tag=prod")
    objects = list(yaml.safe_load_all(cli(tmp_path, "install", "-o", "yaml", *words).stdout))
    found = {each["kind"]: each for each in objects}
    assert found["Deployment"]["metadata"]["name"] == "weft-canary"
    assert "GatewayClass" not in found, "the default's serves all"
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    given = [each for each in container["command"] if each.startswith("--revision")]
    assert given == ["--revision=canary", "--revision-tag=prod", "--revision-tag=test"]
    (pods,) = [each for each in found["MutatingWebhookConfiguration"]["webhooks"] if each["name"].startswith("pod.")]
    assert "in ['canary','prod','test']" in pods["matchConditions"][0]["expression"]
    assert "weft-tag" not in str(objects)


def test_check_of_a_revision_is_for_a_cluster(tmp_path: Path) -> None:
    done = cli(tmp_path, "check", "--revision=canary", check=False)
    assert done.returncode == 2
    assert "--revision is for a cluster: give --kubeconfig or --context" in done.stderr


def test_there_is_no_cluster(tmp_path: Path) -> None:
    done = cli(tmp_path, "install", "--image=a", f"--kubeconfig={tmp_path / 'none'}", check=False)
    assert done.returncode == 1
    assert "none cannot be read" in done.stderr or "no such file" in done.stderr.lower()
