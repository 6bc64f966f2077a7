"""kubernetes/base: what the Helm chart makes of its default values, for Kustomize. ``./run chart`` writes it.

It needs the Helm that ``./run kubernetes`` builds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tools.kubernetes import NotBuiltError, program

from weft.schema.definitions import DEFINED, definition

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts" / "weft"
BASE = ROOT / "kubernetes" / "base"
NAMESPACE = "weft-system"
IMAGE = "weft.invalid/weft"
"""Stands for the image in kubernetes/base, where Kustomize puts another: a name that no registry can have."""
_HEAD = "# Rendered from charts/weft by `./run chart`; change the chart, not this file.\n"
_GATEWAY_API = "gateway.networking.k8s.io/v1/GatewayClass"
_OF_HELM = ("app.kubernetes.io/managed-by", "helm.sh/chart")


def base_files() -> dict[Path, str]:
    """The files of kubernetes/base, as the chart makes them with its default values. NotBuiltError without Helm."""
    objects = [each for each in yaml.safe_load_all(_rendered()) if each is not None and not _is_hook(each)]
    for each in objects:
        _without_helm(each)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    definitions = [definition(kind) for kind in DEFINED]
    head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    return {
        BASE / "kustomization.yaml": _text({**head, "resources": ["definitions.yaml", "weft.yaml"]}),
        BASE / "definitions.yaml": _text(*definitions),
        BASE / "weft.yaml": _text(namespace, *objects),
    }


def _rendered() -> str:
    with tempfile.TemporaryDirectory() as home:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "HELM_"))}
        places = {f"HELM_{name}_HOME": f"{home}/{name.lower()}" for name in ("CACHE", "CONFIG", "DATA")}
        command = [str(program("helm")), "template", "weft", str(CHART), "-n", NAMESPACE]
        command += ["--api-versions", _GATEWAY_API, "--set", f"image.repository={IMAGE}"]
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
    """Write kubernetes/base; the exit code."""
    try:
        wanted = base_files()
    except NotBuiltError as error:
        print(f"chart: {error}", file=sys.stderr)
        return 1
    BASE.mkdir(parents=True, exist_ok=True)
    for path in BASE.glob("*"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    print(f"chart: wrote {BASE.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
