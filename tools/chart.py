"""kubernetes/base: what the Helm chart makes of its default values, for Kustomize; and what ``weft install`` has of it,
for each combination of its switches. ``./run chart`` writes both.

It needs the Helm that ``./run kubernetes`` builds.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tools.kubernetes import NotBuiltError, program

from weft.cluster.manifests import FILE, PLACEHOLDERS, REPLICAS, TAG, Features, combination, combined
from weft.model.revisions import DEFAULT, Revision
from weft.schema.definitions import DEFINED, definition

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "weft"
BASE = ROOT / "kubernetes" / "base"
NAMESPACE = "weft-system"
CARRIED = ROOT / "src" / "weft" / "cluster" / FILE
IMAGE = "weft.invalid/weft"
"""Stands for the image in kubernetes/base, where Kustomize puts another: a name that no registry can have."""
_HEAD = "# Rendered from charts/weft by `./run chart`; change the chart, not this file.\n"
_GATEWAY_API = "gateway.networking.k8s.io/v1/GatewayClass"
_OF_HELM = ("app.kubernetes.io/managed-by", "helm.sh/chart")


def base_files() -> dict[Path, str]:
    """The files of kubernetes/base, as the chart makes them with its default values. NotBuiltError without Helm."""
    objects = _objects("-n", NAMESPACE, "--set", f"image.repository={IMAGE}")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    definitions = [definition(kind) for kind in DEFINED]
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return {
        BASE / "kustomization.yaml": _text({**head, "resources": ["definitions.yaml", "weft.yaml"]}),
        BASE / "definitions.yaml": _text(*definitions),
        BASE / "weft.yaml": _text(namespace, *objects),
    }


def carried() -> str:
    """What ``weft install`` has of the chart. NotBuiltError without Helm."""
    combinations = (Features(*each) for each in itertools.product((True, False), repeat=4))
    possible = [each for each in combinations if not each.contradiction]
    another = PLACEHOLDERS["revision"]
    revisions = (Revision(DEFAULT, (TAG,)), Revision(another, (TAG,)), Revision(another, (DEFAULT, TAG)))
    asked = [(each, names) for names in revisions for each in possible]
    return combined({combination(*each): _objects(*_settings(*each)) for each in asked}).decode()


def _settings(features: Features, names: Revision) -> list[str]:
    """Arguments of Helm for these switches and names, with placeholders for texts."""
    image, _, tag = PLACEHOLDERS["image"].partition(":")
    values: dict[str, object] = {
        "image.repository": image,
        "image.tag": tag,
        "image.pullPolicy": PLACEHOLDERS["pull_policy"],
        "trustDomain": PLACEHOLDERS["trust_domain"],
        "injection.enabled": features.injection,
        "injection.image": PLACEHOLDERS["sidecar_image"],
        "gateways.enabled": features.gateways,
        "gateways.serviceType": PLACEHOLDERS["gateway_service"],
        "gateways.replicas": PLACEHOLDERS["gateway_replicas"],
        "validation.enabled": features.validation,
        "cni.enabled": features.cni,
        "cni.image": PLACEHOLDERS["cni_image"],
        "replicas": REPLICAS,
        "revision": names.name,
        "revisionTags": names.tags,
    }
    words = [word for name, value in values.items() for word in ("--set-json", f"{name}={json.dumps(value)}")]
    return ["-n", PLACEHOLDERS["namespace"], "--skip-schema-validation", *words]


def _objects(*arguments: str) -> list[dict[str, Any]]:
    """The chart's objects, without hooks and what says that they are Helm's."""
    found = [each for each in yaml.safe_load_all(_rendered(*arguments)) if each is not None and not _is_hook(each)]
    for each in found:
        _without_helm(each)
    return found


def _rendered(*arguments: str) -> str:
    with tempfile.TemporaryDirectory() as home:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "HELM_"))}
        places = {f"HELM_{name}_HOME": f"{home}/{name.lower()}" for name in ("CACHE", "CONFIG", "DATA")}
        command = [str(program("helm")), "template", "weft", str(CHART), "--api-versions", _GATEWAY_API, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**kept, **places})
    if done.returncode != 0:
        raise NotBuiltError(f"the chart cannot be rendered: {done.stderr.strip()}")
    return done.stdout


def _is_hook(each: Mapping[str, Any]) -> bool:
    return "helm.sh/hook" in each["metadata"].get("annotations", {})


def _without_helm(each: dict[str, Any]) -> None:
    for name in _OF_HELM:
        each["metadata"]["labels"].pop(name, None)


def _text(*objects: Mapping[str, Any]) -> str:
    return _HEAD + "---\n".join(
        yaml.safe_dump(each, sort_keys=False, width=120, allow_unicode=True) for each in objects
    )


def main() -> int:
    """Write kubernetes/base and what the package carries; the exit code."""
    try:
        wanted, own = base_files(), carried()
    except NotBuiltError as error:
        print(f"chart: {error}", file=sys.stderr)
        return 1
    BASE.mkdir(parents=True, exist_ok=True)
    for path in BASE.glob("*"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    CARRIED.write_text(own, encoding="utf-8")
    print(f"chart: wrote {BASE.relative_to(ROOT)} and {CARRIED.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
