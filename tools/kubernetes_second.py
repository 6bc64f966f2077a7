"""A second node of a cluster for tests: a container runtime and a kubelet more, in the namespaces of the first.

Its pods have addresses of their own at a bridge of their own; kube-proxy is the first's. Run in those namespaces as
``python -m tools.kubernetes_second DIRECTORY GROUP``, it says ``ready`` and ends with its standard input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.kubernetes_cluster import ClusterError, Parts
from tools.kubernetes_groups import make_groups
from tools.kubernetes_inside import import_program
from tools.kubernetes_parts import SECOND, start_kubelet, start_runtime, wait_for_runtime
from tools.kubernetes_pki import load_authority


class SecondNode(Parts):
    """A node beside the one whose files are in `directory`."""

    @property
    def server(self) -> str:
        """The URL of the API server."""
        known = json.loads(self.kubeconfig("admin").read_text())
        return str(known["clusters"][0]["cluster"]["server"])

    def start(self, group: str) -> None:
        """Start it, its pods in the control group `group`; it is ready when this returns. ClusterError if it does not
        become so."""
        make_groups(group)
        address = ["ip", "address", "replace", f"{SECOND.address}/24", "dev", "node0"]
        done = subprocess.run(address, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(address)}: {done.stderr.strip()}")
        start_runtime(self, SECOND)
        wait_for_runtime(self, SECOND)
        import_program(self.directory / SECOND.name, SECOND, "pause", "65535:65535")
        start_kubelet(self, SECOND, load_authority(self.pki), group)


def main(arguments: Sequence[str]) -> int:
    """Be the second node until standard input ends; the exit code."""
    directory, group = Path(arguments[0]), arguments[1]
    os.umask(0o022)  # as for the first: containers of other users read what is made here
    node = SecondNode(directory)
    try:
        node.start(f"{group}/{SECOND.name}")
        print("ready", flush=True)
        sys.stdin.buffer.read()
    except (ClusterError, OSError) as error:
        print(f"kubernetes: {error}", file=sys.stderr)
        return 1
    finally:
        node.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
