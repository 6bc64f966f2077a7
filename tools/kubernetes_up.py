"""``./run kubernetes up [--node] [DIRECTORY]``: a Kubernetes with the Gateway API, until Ctrl-C.

Without ``--node`` it is an API on loopback, and no pods run; with it, pods run on a node of its own, which needs root.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from tools.kubernetes import gateway_api, program
from tools.kubernetes_cluster import ApiCluster, ClusterError
from tools.kubernetes_node import NodeCluster


def main(arguments: Sequence[str]) -> int:
    """Run it, its files in the directory that is given, else in one that goes with it; the exit code."""
    parser = argparse.ArgumentParser(prog="./run kubernetes up", description=__doc__)
    parser.add_argument("--node", action="store_true", help="with a node that runs pods (needs root)")
    parser.add_argument("directory", nargs="?", type=Path, help="for its files (default: one that goes with it)")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kubernetes-") as own:
        directory = (given.directory or Path(own)).absolute()
        cluster = NodeCluster(directory) if given.node else ApiCluster(directory)
        try:
            cluster.start()
            cluster.kubectl("apply", "--server-side", "-f", str(gateway_api()))
            print(f"export KUBECONFIG={cluster.kubeconfig('admin')}", flush=True)
            print(f"kubernetes: ready, with the Gateway API; ask it with: {program('kube')} kubectl", file=sys.stderr)
            if isinstance(cluster, NodeCluster):
                print(f"kubernetes: a shell in its node: {shlex.join(cluster.command(['bash']))}", file=sys.stderr)
            threading.Event().wait()
        except ClusterError as error:
            print(f"kubernetes: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 0
        finally:
            cluster.stop()
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main(sys.argv[1:]))
