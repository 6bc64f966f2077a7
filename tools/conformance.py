"""``./run conformance``: the Gateway API's own suite against weft, on a Kubernetes with a node.

It runs the profiles of gateways, then those of the mesh, and leaves a report of each in the form that the Gateway API
publishes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tools.conformance_images import SUITE, build, write_images
from tools.go_programs import ROOT, NotBuiltError
from tools.images.base import ImageError, default_sources
from tools.images.build import TEST_REGISTRY, TEST_TAG, build_images
from tools.kubernetes import CHANNELS, PROGRAMS, gateway_api
from tools.kubernetes_access import ClusterError
from tools.kubernetes_mesh import install
from tools.kubernetes_node import NodeCluster

from weft import __version__
from weft.admin.kubernetes.features import EXPERIMENTAL, FEATURES, MESH_FEATURES

PUBLISHED = ROOT / "docs" / "conformance"
_CLASS = "weft"
_PROJECT = "https://weft.dev"
_DEFINITIONS = ("peerauthentications.yaml",)
_USABLE, _UNUSABLE = "198.19.0.200", "192.0.2.1"
"""An address of the cluster's Services that nobody is given unless they ask for it, and one of nobody's."""


@dataclass(frozen=True, slots=True)
class Group:
    """Profiles that one run of the suite tries, with the features that weft has beyond their core. `mode` is the word
    that the report has for how weft was set up. `options` are more of the suite's, `applied` the manifests beside it
    that are applied before."""

    mode: str
    profiles: tuple[str, ...]
    features: tuple[str, ...]
    options: tuple[str, ...]
    applied: tuple[str, ...] = ()


GROUPS = {
    "gateways": Group(
        "default",
        ("GATEWAY-HTTP", "GATEWAY-GRPC", "GATEWAY-TLS", "GATEWAY-TCP", "GATEWAY-UDP"),
        FEATURES,
        (f"-usable-address={_USABLE}", f"-unusable-address={_UNUSABLE}"),
    ),
    "mesh": Group(
        "mesh",
        ("MESH-HTTP", "MESH-GRPC"),
        MESH_FEATURES,
        ("-mesh-name=weft", "-namespace-labels=istio-injection=enabled"),
        (*_DEFINITIONS, "mesh.yaml"),
    ),
}
"""In the order in which they run. Backends of Gateways are no pods of the mesh, so the two are apart."""


def main(arguments: Sequence[str]) -> int:
    """Run the suite; the exit code."""
    given = _parser().parse_args(arguments)
    if status := build():
        return status
    with tempfile.TemporaryDirectory(prefix="weft-conformance-") as scratch:
        cluster = NodeCluster(Path(scratch) / "cluster")
        try:
            prepare(cluster, Path(scratch), given.channel)
            codes = [run_suite(cluster, group, given) for group in _groups(given)]
            if given.keep:
                print(f"conformance: the cluster stays until Ctrl-C; KUBECONFIG={cluster.kubeconfig('admin')}")
                sys.stdin.read()
            return max(codes)
        except (ClusterError, ImageError, NotBuiltError) as error:
            print(f"conformance: {error}", file=sys.stderr)
            return 1
        finally:
            cluster.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./run conformance", description=__doc__)
    every = [profile for group in GROUPS.values() for profile in group.profiles]
    parser.add_argument("--profile", action="append", choices=every, help="only this one (may be given again)")
    parser.add_argument("--channel", choices=CHANNELS, default=CHANNELS[-1], help="the API's definitions (%(default)s)")
    parser.add_argument("--test", default="", help="run only the test of this short name")
    parser.add_argument("--skip", default="", help="tests to leave out, with commas between them")
    parser.add_argument("--features", default="", help="features to try instead of those that weft claims")
    parser.add_argument("--timeouts", default="", help="the suite's, in seconds: GetTimeout:20;DeleteTimeout:30")
    parser.add_argument("--report", type=Path, help=f"directory for the reports (published: {PUBLISHED.name}/)")
    parser.add_argument("--debug", action="store_true", help="have the suite say what it does")
    parser.add_argument("--keep", action="store_true", help="wait for Ctrl-C before the cluster ends")
    return parser


def _groups(given: argparse.Namespace) -> Iterator[Group]:
    """What runs, with only the profiles that are asked for."""
    for group in GROUPS.values():
        profiles = tuple(each for each in group.profiles if not given.profile or each in given.profile)
        if profiles:
            yield replace(group, profiles=profiles)


def prepare(cluster: NodeCluster, scratch: Path, channel: str) -> None:
    """Start the cluster, with everything that the suite needs in it."""
    archives = build_images(ROOT / "build" / "images", default_sources(), TEST_REGISTRY, TEST_TAG)
    cluster.start()
    for archive in archives:
        cluster.import_image(archive)
    for archive in write_images(scratch):
        cluster.import_image(archive)
        archive.unlink()
    cluster.kubectl("apply", "--server-side", "-f", str(gateway_api(channel)))
    cluster.kubectl("apply", "-f", str(PROGRAMS.module / "conformance" / "small-node.yaml"))
    references = [{"namespace": "*", "secrets": ["*"], "configMaps": ["*"]}]  # the suite makes its own, anywhere
    install(cluster, {"gateways.serviceType": "ClusterIP", "references": references})


def run_suite(cluster: NodeCluster, group: Group, given: argparse.Namespace) -> int:
    """Run the suite in the node's network, from where it reaches Gateways; its exit code."""
    for name in group.applied:
        manifest = str(PROGRAMS.module / "conformance" / name)
        cluster.kubectl("apply", "-f", manifest)
        if name in _DEFINITIONS:
            cluster.kubectl("wait", "--for=condition=Established", "-f", manifest)
    features = [each for each in group.features if given.channel == CHANNELS[-1] or each not in EXPERIMENTAL]
    report = cluster.directory / f"{given.channel}-v{__version__}-{group.mode}-report.yaml"
    command = [
        str(SUITE.program("conformance.test")),
        "-test.v",
        "-test.timeout=120m",
        "-disable-parallel-tests",  # one waits for the Gateways of another, and has a minute
        f"-gateway-class={_CLASS}",
        f"-conformance-profiles={','.join(group.profiles)}",
        f"-supported-features={given.features or ','.join(features)}",
        "-organization=weft",
        "-project=weft",
        f"-url={_PROJECT}",
        f"-version=v{__version__}",
        f"-contact={_PROJECT}",
        f"-mode={group.mode}",
        f"-report-output={report}",
        *group.options,
    ]
    for option, value in (("run-test", given.test), ("skip-tests", given.skip)):
        command += [f"-{option}={value}"] if value else []
    command += [f"-timeout-config-overrides={given.timeouts}"] if given.timeouts else []
    command += ["-debug"] if given.debug else []
    done = subprocess.run(cluster.command(command), check=False)
    if report.is_file() and given.report is not None:
        given.report.mkdir(parents=True, exist_ok=True)
        (given.report / report.name).write_bytes(report.read_bytes())
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
