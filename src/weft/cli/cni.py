"""`weft cni`: the agent of a node of Kubernetes, which captures the connections of pods."""

from __future__ import annotations

from pathlib import Path

import click

from weft.cli.failure import FailedError
from weft.cli.options import command

_DIRECTORY = click.Path(path_type=Path, file_okay=False)


@command("cni", "weft cni", "weft cni --plugins /opt/cni/bin --networks /etc/cni/net.d")
@click.option(
    "--plugins",
    type=_DIRECTORY,
    default=Path("/opt/cni/bin"),
    show_default=True,
    help="Where the runtime finds its plugins.",
)
@click.option(
    "--networks",
    type=_DIRECTORY,
    default=Path("/etc/cni/net.d"),
    show_default=True,
    help="Where it finds the lists of plugins by which pods get their network.",
)
@click.option(
    "--records",
    type=_DIRECTORY,
    default=Path("/var/lib/cni/results"),
    show_default=True,
    help="Where it notes which pods have theirs.",
)
@click.option(
    "--run",
    type=_DIRECTORY,
    default=Path("/run/weft-cni"),
    show_default=True,
    help="Where the plugin finds the agent: under this path on the node, too.",
)
@click.option(
    "--program",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("/usr/lib/weft-cni/weft-cni"),
    show_default=True,
    help="The plugin, which is put among the others.",
)
def cni(*, plugins: Path, networks: Path, records: Path, run: Path, program: Path) -> int:
    """Be the agent of a node: capture the connections of pods, as the CNI plugin of weft asks for it.

    It puts the plugin among those of the node, behind the one that makes the pods' network, and keeps it there; at the
    end it takes it away again. It runs in each node's pod of a DaemonSet, as root with the capabilities NET_ADMIN and
    SYS_ADMIN, has no token and asks nobody (docs/injection.md).
    """
    import asyncio
    import logging

    from weft.agent.cni.installation import Places
    from weft.agent.cni.node import run_node
    from weft.agent.errors import AgentError
    from weft.agent.signals import HANDLED
    from weft.cli.pod import capture_from_words
    from weft.processes.signals import signals_held
    from weft.telemetry.log import set_up_logging

    set_up_logging("weft cni", logging.INFO, timed=True)
    if not program.is_file():
        raise FailedError(f"--program: {program} is not there; it is in the image weft-cni")
    try:
        with signals_held(HANDLED):
            asyncio.run(run_node(Places(plugins, networks, records, run, program), capture_from_words))
    except AgentError as error:
        raise FailedError(str(error), error.exit_code) from error
    return 0
