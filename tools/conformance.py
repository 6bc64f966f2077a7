"""``./run conformance``: the Gateway API's own suite against weft, on a Kubernetes with a node.

It writes the report in the form that the Gateway API publishes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.conformance_images import SUITE, build, write_images
from tools.go_programs import ROOT
from tools.images.base import default_sources
from tools.images.build import TEST_REGISTRY, TEST_TAG, build_images
from tools.kubernetes import gateway_api
from tools.kubernetes_access import ClusterError
from tools.kubernetes_mesh import install
from tools.kubernetes_node import NodeCluster

from weft import __version__

REPORT = ROOT / "docs" / "conformance"
_GATEWAY_PROFILES = ("GATEWAY-HTTP", "GATEWAY-GRPC", "GATEWAY-TLS")
_MESH_PROFILES = ("MESH-HTTP", "MESH-GRPC")
_CLASS = "weft"


def main(arguments: Sequence[str]) -> int:
    """Run the suite; the exit code."""
    parser = argparse.ArgumentParser(prog="./run conformance", description=__doc__)
    parser.add_argument("--profile", action="append", choices=(*_GATEWAY_PROFILES, *_MESH_PROFILES))
    parser.add_argument("--test", default="", help="run only the test of this short name")
    parser.add_argument("--features", default="", help="extended features to try, with commas between them")
    parser.add_argument("--report", type=Path, help=f"file for the report (default: none; published: {REPORT.name}/)")
    parser.add_argument("--debug", action="store_true", help="have the suite say what it does")
    parser.add_argument("--keep", action="store_true", help="wait for Ctrl-C before the cluster ends")
    given = parser.parse_args(arguments)
    if status := build():
        return status
    with tempfile.TemporaryDirectory(prefix="weft-conformance-") as scratch:
        cluster = NodeCluster(Path(scratch) / "cluster")
        try:
            prepare(cluster, Path(scratch))
            code = run_suite(cluster, Path(scratch), given)
            if given.keep:
                print(f"conformance: the cluster stays until Ctrl-C; KUBECONFIG={cluster.kubeconfig('admin')}")
                sys.stdin.read()
            return code
        except ClusterError as error:
            print(f"conformance: {error}", file=sys.stderr)
            return 1
        finally:
            cluster.stop()


def prepare(cluster: NodeCluster, scratch: Path) -> None:
    """Start the cluster, with everything that the suite needs in it."""
    archives = build_images(ROOT / "build" / "images", default_sources(), TEST_REGISTRY, TEST_TAG)
    cluster.start()
    for archive in archives:
        cluster.import_image(archive)
    for archive in write_images(scratch):
        cluster.import_image(archive)
        archive.unlink()
    cluster.kubectl("apply", "--server-side", "-f", str(gateway_api()))
    references = [{"namespace": "*", "secrets": ["*"], "configMaps": ["*"]}]  # the suite makes its own, anywhere
    install(cluster, {"gateways.serviceType": "ClusterIP", "references": references})


def run_suite(cluster: NodeCluster, scratch: Path, given: argparse.Namespace) -> int:
    """Run the suite in the node's network, from where it reaches Gateways; its exit code."""
    profiles = given.profile or [*_GATEWAY_PROFILES, *_MESH_PROFILES]
    report = scratch / "report.yaml"
    command = [
        str(SUITE.program("conformance.test")),
        "-test.v",
        "-test.timeout=60m",
        f"-gateway-class={_CLASS}",
        f"-conformance-profiles={','.join(profiles)}",
        "-allow-crds-mismatch",
        "-organization=weft",
        "-project=weft",
        "-url=https://weft.dev",
        f"-version=v{__version__}",
        "-contact=@weft",
        "-mode=default",
        f"-report-output={report}",
    ]
    if given.features:
        command.append(f"-supported-features={given.features}")
    if any(profile in _MESH_PROFILES for profile in profiles):
        command += ["-mesh-name=weft", "-namespace-labels=istio-injection=enabled"]
    if given.test:
        command.append(f"-run-test={given.test}")
    if given.debug:
        command.append("-debug")
    done = subprocess.run(cluster.command(command), check=False)
    if report.is_file() and given.report is not None:
        given.report.parent.mkdir(parents=True, exist_ok=True)
        given.report.write_bytes(report.read_bytes())
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
