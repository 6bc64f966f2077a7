"""`weft serve`: the control plane."""

from __future__ import annotations

from pathlib import Path

import click

from weft.cli.options import command, home_option
from weft.settings.home import Home


@command("serve", "weft serve", "weft serve --documents mesh/ --admin-port 15080")
@home_option
@click.option(
    "--documents",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A file or directory of documents to follow live; may be given again.",
)
@click.option("--trust-domain", default=None, help="Trust domain of the mesh's identities.  [default: cluster.local]")
@click.option("--bind", help="Address of the xDS server and the agent API.  [default: 127.0.0.1]")
@click.option(
    "--advertise",
    default="",
    help="Host name or address for agents on other hosts.  [default: the address they connected to]",
)
@click.option("--admin-port", type=click.IntRange(0, 65535), help="Port of the admin API, always on loopback.")
@click.option(
    "--xds-port", type=click.IntRange(0, 65535), help="Port of the xDS server; 0: any free one, kept over restarts."
)
@click.option("--agent-port", type=click.IntRange(0, 65535), help="Port of the agent API (TLS).")
@click.option(
    "--outbound",
    type=click.Choice(["ALLOW_ANY", "REGISTRY_ONLY"]),
    default="ALLOW_ANY",
    show_default=True,
    help="What sidecars do with hosts that no document names, unless a MeshConfig says it.",
)
@click.option(
    "--lease",
    type=click.FloatRange(1, 3600),
    default=15.0,
    show_default=True,
    help="Seconds for which a registration lasts unless its agent renews it.",
)
@click.option(
    "--certificate-ttl",
    type=click.FloatRange(10, 86400),  # what the authority keeps to (weft.ca.authority)
    default=86400.0,
    show_default=True,
    help="Seconds for which workload certificates are valid; they are renewed at half of it.",
)
def serve(
    *,
    home: Home,
    documents: tuple[Path, ...],
    trust_domain: str | None,
    bind: str | None,
    advertise: str,
    admin_port: int | None,
    xds_port: int | None,
    agent_port: int | None,
    outbound: str,
    lease: float,
    certificate_ttl: float,
) -> int:
    """Run the control plane.

    It keeps documents, identities and registrations in the home and programs the proxies. Killing it does not disturb
    traffic; started again it goes on where it was, at the same ports.
    """
    from weft.cli.serving import ServeOptions, run_serve

    options = ServeOptions(
        home=home,
        documents=documents,
        trust_domain=trust_domain,
        bind=bind,
        advertise=advertise,
        admin_port=admin_port,
        xds_port=xds_port,
        agent_port=agent_port,
        outbound=outbound,
        lease=lease,
        certificate_ttl=certificate_ttl,
    )
    return run_serve(options)
