"""``./run kubernetes up [DIRECTORY]``: the API of a Kubernetes with the Gateway API; until Ctrl-C."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from tools.kubernetes import gateway_api, program
from tools.kubernetes_cluster import ApiCluster, ClusterError


def main(arguments: Sequence[str]) -> int:
    """Run it, its files in the directory that is given, else in one that goes with it; the exit code."""
    with tempfile.TemporaryDirectory(prefix="kubernetes-") as own:
        cluster = ApiCluster(Path(arguments[0] if arguments else own).absolute())
        try:
            cluster.start()
            cluster.kubectl("apply", "--server-side", "-f", str(gateway_api()))
            print(f"export KUBECONFIG={cluster.kubeconfig('admin')}", flush=True)
            print(f"kubernetes: ready, with the Gateway API; ask it with: {program('kube')} kubectl", file=sys.stderr)
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
