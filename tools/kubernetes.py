"""A real Kubernetes, for tests. ``./run kubernetes`` builds it.

etcd, API server, controllers, scheduler, kubelet, kube-proxy and kubectl are one program, ``build/kubernetes/kube``.
Beside it lie CoreDNS, the process that holds a pod's namespaces, Helm, and the CustomResourceDefinitions of the Gateway
API and of Istio, of the very releases that the modules pin.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.go_programs import ROOT, GoPrograms, NotBuiltError, go_command

_GATEWAY_API, _ISTIO_API = "sigs.k8s.io/gateway-api", "istio.io/api"
CHANNELS = ("standard", "experimental")
"""Of the Gateway API: the second has more fields."""
_DIRECTORIES = {"standard": "gateway-api", "experimental": "gateway-api-experimental"}


def _pinned(module: str, at: Path = ROOT / "tools" / "kubernetes") -> str:
    """The version of a module that go.mod requires."""
    text = (at / "go.mod").read_text()
    found = re.search(rf"^(?:require)?\s*{re.escape(module)} (v\S+)", text, re.MULTILINE)
    if found is None:
        raise NotBuiltError(f"{at.relative_to(ROOT)}/go.mod does not require {module}")
    return found[1]


def _version() -> dict[str, str]:
    """What says which version it is; without it, it says v0.0.0, on which clients trip."""
    version = _pinned("k8s.io/kubernetes")
    major, minor = version.removeprefix("v").split(".")[:2]
    base = "k8s.io/component-base/version"
    told = {f"{base}.gitMajor": major, f"{base}.gitMinor": minor}
    return told | {f"{base}.gitVersion": version, "k8s.io/client-go/pkg/version.gitVersion": version}


# Without debugging data there is less to compile, and Go's cache stays smaller.
PROGRAMS = GoPrograms(
    "kubernetes",
    {"kube": "./kube", "coredns": "./coredns", "pause": "./pause", "helm": "helm.sh/helm/v4/cmd/helm"},
    ("-gcflags=all=-dwarf=false",),
    _version(),
)
ISTIO = GoPrograms("istio", {})
"""A module of its own, so that another version of these definitions builds nothing again."""

program = PROGRAMS.program
__all__ = ["CHANNELS", "PROGRAMS", "NotBuiltError", "gateway_api", "istio", "program"]


def gateway_api(channel: str = CHANNELS[0]) -> Path:
    """The directory with the CustomResourceDefinitions of a channel of the Gateway API. NotBuiltError if it is not
    there."""
    return _definitions(_DIRECTORIES[channel])


def istio() -> Path:
    """The directory with the CustomResourceDefinitions of Istio's kinds. NotBuiltError if it is not there."""
    return _definitions("istio")


def _definitions(name: str) -> Path:
    path = PROGRAMS.built / name
    program("kube")
    if not path.is_dir():
        raise NotBuiltError(f"{path.relative_to(ROOT)} is not there; run: ./run kubernetes")
    return path


def _fetch(name: str, place: str, module: str, at: Path, cached: Path) -> None:
    """The files at a `place` of a `module`, in the version that the module `at` pins, into build/kubernetes/NAME; from
    the cache if it has them."""
    if not cached.is_dir():
        named = f"{module}@{_pinned(module, at)}"
        command = [go_command(), "mod", "download", "-json", named]
        done = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotBuiltError(f"{named} cannot be downloaded: {done.stderr.strip()}")
        cached.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=cached.parent))
        for path in Path(json.loads(done.stdout)["Dir"]).glob(place):
            (fresh / path.name).write_bytes(path.read_bytes())
        fresh.chmod(0o755)
        fresh.replace(cached)
    built = PROGRAMS.built / name
    if not built.is_dir():
        shutil.copytree(cached, built)


def build() -> int:
    """Build what is not built; the exit code."""
    status = PROGRAMS.run()
    if status == 0:
        try:
            for channel, name in _DIRECTORIES.items():
                place = f"config/crd/{channel}/gateway.networking.*.yaml"
                _fetch(name, place, _GATEWAY_API, PROGRAMS.module, PROGRAMS.cache / name)
            _fetch("istio", "kubernetes/*.gen.yaml", _ISTIO_API, ISTIO.module, ISTIO.cache / "definitions")
        except NotBuiltError as error:
            print(f"kubernetes: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(build())
