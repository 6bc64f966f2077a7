"""The first process of a node's namespaces: it makes them a node, and ends with whoever started it.

Run by `tools.kubernetes_node` in mount, network, process and host name namespaces of its own, it lays directories over
the machine's, so that nothing is written there, and starts what a node has. What it makes goes with the namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.images.oci import Entry, Image, write_archive, write_layer
from tools.kubernetes import PROGRAMS, program
from tools.kubernetes_cluster import ClusterError
from tools.kubernetes_parts import FIRST, Node, Seat

LAID_OVER = ("/var/lib", "/var/log")
# What a kubelet would set for the whole machine; it leaves alone what reads as it should.
_SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


def lay_mounts(directory: Path) -> None:
    """Nothing that a node writes is the machine's: its directories are laid over, or empty."""
    _run("mount", "--make-rshared", "/")
    _run("mount", "-t", "proc", "proc", "/proc")
    for place in LAID_OVER:
        upper, work = directory / f"upper{place}", directory / f"work{place}"
        upper.mkdir(parents=True)
        work.mkdir(parents=True)
        _run("mount", "-t", "overlay", "-o", f"lowerdir={place},upperdir={upper},workdir={work}", "overlay", place)
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run")
    # No name server of the machine can be reached from here: ask none, wait for none.
    nobody = directory / "resolv.conf"
    nobody.touch()
    if Path("/etc/resolv.conf").exists():
        _run("mount", "--bind", str(nobody), "/etc/resolv.conf")
    for name, value in _SYSCTLS.items():
        shown = directory / name.replace("/", ".")
        shown.write_text(f"{value}\n")
        _run("mount", "--bind", str(shown), f"/proc/sys/{name}")


def make_network() -> None:
    """One address on a cable that leads nowhere, with a route to everywhere, so that services can be called."""
    socket.sethostname(FIRST.name)
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "node0", "type", "veth", "peer", "name", "cable0")
    _run("ip", "link", "set", "cable0", "up")
    _run("ip", "address", "add", f"{FIRST.address}/24", "dev", "node0")
    _run("ip", "link", "set", "node0", "up")
    _run("ip", "route", "add", "default", "dev", "node0")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")


def import_own_images(directory: Path) -> None:
    """What the first node needs: the process that holds a pod's namespaces, and CoreDNS."""
    import_program(directory, FIRST, "pause", "65535:65535")
    import_program(directory, FIRST, "coredns", "65532:65532")


def import_program(directory: Path, seat: Seat, name: str, user: str) -> None:
    """Give a node the image of a program of ours, which a pod runs as a user."""
    layer, archive = directory / f"{name}.layer", directory / f"{name}.tar"
    write_layer(layer, [Entry(name, program(name), 0o755)], 0)
    write_archive(Image(f"weft.test/{name}:1", (layer,), (f"/{name}",), user), archive)
    _run("ctr", f"--address={seat.socket}", "--namespace", "k8s.io", "images", "import", str(archive))
    layer.unlink()
    archive.unlink()


async def serve(node: Node, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Lead connections of the machine's loopback to the API server, and reap orphans, for ever. ClusterError if a part
    of the node ends."""
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def reap() -> None:
        if (found := reap_orphans(node)) and not ended.done():
            ended.set_result(found)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            upward, downward = await asyncio.open_connection(FIRST.address, node.port)
            await asyncio.gather(_copy(reader, downward), _copy(upward, writer))

    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, reap)
    async with await asyncio.start_server(relay, sock=listener):
        ready()
        raise ClusterError(f"{await ended} has ended; its log is in {node.directory / 'log'}")


def reap_orphans(node: Node) -> str:
    """Reap children that nobody waits for, as a first process must; which part of the node has ended, or ""."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return ""
        if found is None:
            return ""
        if part := node.part(found.si_pid):
            return part
        os.waitpid(found.si_pid, 0)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def end_with_owner() -> None:
    """End this process when its standard input ends."""
    sys.stdin.buffer.read()
    os._exit(1)


def _run(*command: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(command)}: {done.stderr.strip()}")


def main(arguments: Sequence[str]) -> int:
    """Be the node whose files are in the directory that is given, its pods in that control group, and its API at that
    open file's address; the exit code."""
    directory, group, listening = Path(arguments[0]), arguments[1], int(arguments[2])
    os.umask(0o022)  # containers of other users read what is made here; the directory above is closed to others
    threading.Thread(target=end_with_owner, daemon=True).start()
    try:
        with socket.socket(fileno=listening) as listener:
            lay_mounts(directory / "machine")
            make_network()
            node = Node(directory, group)
            node.start_runtime()
            node.start()
            node.wait_for_runtime()
            import_own_images(directory)
            node.start_node()
            node.kubectl("apply", "-f", str(PROGRAMS.module / "dns.yaml"))
            node.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s")
            asyncio.run(serve(node, listener, (directory / "ready").touch))
    except (ClusterError, OSError) as error:
        print(f"kubernetes: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
