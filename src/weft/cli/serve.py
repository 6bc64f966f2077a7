"""`weft serve`: the control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from weft.cli.options import PortNumber, command, home_option
from weft.cli.serve_authority import authority_options
from weft.cli.serve_federation import federation_given, federation_options
from weft.cli.serve_injection import injection_given, injection_options
from weft.cli.serve_outside import outside_given, outside_options
from weft.cli.serve_people import oidc, people_options, remote_admin
from weft.cli.serve_revisions import revision_options
from weft.settings.home import Home


@command(
    "serve",
    "weft serve",
    "weft serve --documents mesh/ --admin-port 15080",
    "weft serve --shared-socket /run/weft/agents.sock --allow-uid 1001=shop/cart@cart.service",
    "weft serve --admin-bind 10.0.0.7:15443 --admin-host mesh.example",
    "weft serve --kubeconfig admin.kubeconfig --context prod",
    "weft serve --import consul=http://127.0.0.1:8500 --import dns=_web._tcp.shop.example",
)
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
@click.option("--admin-port", type=PortNumber(least=0), help="Port of the admin API, always on loopback.")
@click.option(
    "--xds-port", type=PortNumber(least=0), help="Port of the xDS server; 0: any free one, kept over restarts."
)
@click.option(
    "--metrics-port",
    type=PortNumber(least=0),
    help="Port that Prometheus scrapes: plain on loopback, else TLS.  [default: 15014 if it is free]",
)
@click.option("--agent-port", type=PortNumber(least=0), help="Port of the agent API (TLS).")
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
@click.option(
    "--prometheus",
    default="",
    metavar="URL",
    envvar="WEFT_PROMETHEUS",
    help="Answer questions about traffic from this Prometheus.  [env: WEFT_PROMETHEUS; default: by itself]",
)
@click.option(
    "--shared-socket",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A second unix socket of the agent API, for other users of this host (`weft run --control-plane unix:PATH`).",
)
@click.option(
    "--allow-uid",
    "allow_uid",
    multiple=True,
    metavar="UID=NAMESPACE/SA[@UNIT]",
    help="With --shared-socket: which identity a user may have; with @NAME.service only from that unit of systemd, "
    "with @/PATH only from that control group. May be given again.",
)
@click.option(
    "--store-key",
    default="",
    metavar="WHAT",
    envvar="WEFT_STORE_KEY",
    help="What encrypts the store's secrets: file:PATH, env:NAME, command:PROGRAM ARGUMENTS, python:MODULE:FACTORY.  "
    "[env: WEFT_STORE_KEY; default: a file in the home]",
)
@click.option(
    "--ca-vault",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Have the PKI engine of a Vault sign the mesh's intermediate: a TOML file says which (docs/ca.md).",
)
@click.option(
    "--rate-limit-store",
    default="",
    metavar="URL",
    envvar="WEFT_RATE_LIMIT_STORE",
    help="Keep the counts of shared rate limits in this Redis or Valkey: redis:// or rediss://, or file:PATH of a file "
    "that has the URL (with a password).  [env: WEFT_RATE_LIMIT_STORE; default: in memory]",
)
@click.option(
    "--identity-from",
    default="",
    envvar="WEFT_IDENTITY_FROM",
    metavar="unix:PATH|spire",
    help="Believe the workloads of this SPIFFE Workload API, such as that of SPIRE's agent, besides those that the "
    "mesh certifies; its trust domain is the mesh's.  [env: WEFT_IDENTITY_FROM]",
)
@click.option("--former-store-key", default="", metavar="WHAT", help="What did before, once, to change to another.")
@authority_options
@outside_options
@injection_options
@revision_options
@federation_options
@people_options
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
    metrics_port: int | None,
    outbound: str,
    lease: float,
    certificate_ttl: float,
    prometheus: str,
    shared_socket: Path | None,
    allow_uid: tuple[str, ...],
    store_key: str,
    ca_vault: Path | None,
    identity_from: str,
    former_store_key: str,
    rate_limit_store: str,
    **people: Any,
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
        metrics_port=metrics_port,
        outbound=outbound,
        lease=lease,
        certificate_ttl=certificate_ttl,
        prometheus=prometheus,
        federation=federation_given(people),
        shared_socket=shared_socket,
        allow_uid=allow_uid,
        store_key=store_key,
        former_store_key=former_store_key,
        rate_limit_store=rate_limit_store,
        remote_admin=remote_admin(people),
        oidc=oidc(people),
        ca_vault=ca_vault,
        identity_from=identity_from,
        outside=outside_given(people),
        webhooks=injection_given(people),
    )
    return run_serve(options)
