"""The Helm chart in tests: its values, what it renders, and its documents."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from tools.kubernetes import program

ROOT = Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "charts" / "weft"
NAMESPACE = "weft-system"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:weft"
USUAL: Mapping[str, Any] = {"image": {"repository": "weft.test/weft", "tag": "1", "pullPolicy": "Never"}}
"""Values without which there is no image."""
_ALSO = ("gateway.networking.k8s.io/v1/GatewayClass",)


class HelmError(Exception):
    """Helm refuses; the text is what it says."""


def helm(*arguments: str, home: Path, values: Mapping[str, Any] = USUAL) -> str:
    """What helm prints, with `values` where it takes any; its own files are in `home`. HelmError if it fails."""
    given = home / "values.json"
    given.write_text(json.dumps(values))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "HELM_"))}
    places = {f"HELM_{name}_HOME": str(home / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
    takes = ["-f", str(given)] if arguments[0] in ("lint", "template", "install", "upgrade") else []
    command = [str(program("helm")), *arguments, *takes]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**kept, **places})
    if done.returncode != 0:
        raise HelmError(done.stderr.strip())
    return done.stdout + done.stderr


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, as Helm merges them."""
    result = dict(base)
    for name, value in over.items():
        below = result.get(name)
        result[name] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def rendered(home: Path, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The objects that the chart makes of `USUAL` and `values`, for a cluster with the Gateway API."""
    apis = [word for api in _ALSO for word in ("--api-versions", api)]
    text = helm("template", "weft", str(CHART), "-n", NAMESPACE, *apis, home=home, values=merged(USUAL, values or {}))
    return [each for each in yaml.safe_load_all(text) if each is not None]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The objects of a kind."""
    return [each for each in objects if each["kind"] == kind]


def value_paths(schema: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Every value of a values schema that can be set, as ``image.tag``."""
    for name, each in schema["properties"].items():
        if "properties" in each:
            yield from value_paths(each, f"{above}{name}.")
        else:
            yield above + name
