"""Running the control plane in this process, for `weft serve`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import click

from weft.admin.local_users import LocalUser, LocalUserError, local_user_from_text
from weft.admin.people.oidc import OidcSettings
from weft.cli.failure import FailedError
from weft.cli.options import workload_api_socket
from weft.cli.serve_federation import FederationOptions
from weft.cli.serve_outside import OutsideOptions
from weft.controlplane.settings import DEFAULT_BIND, RemoteAdmin, ServeError, ServeSettings, WebhookSettings
from weft.local.record import control_plane_settings
from weft.model.identity import DEFAULT_TRUST_DOMAIN
from weft.model.snapshot import MeshSettings
from weft.settings.home import Home
from weft.settings.private import PermissionsError


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The options of ``weft serve`` as given."""

    home: Home
    documents: tuple[Path, ...]
    trust_domain: str | None
    bind: str | None
    advertise: str
    admin_port: int | None
    xds_port: int | None
    agent_port: int | None
    metrics_port: int | None
    outbound: str
    lease: float
    certificate_ttl: float
    prometheus: str = ""
    shared_socket: Path | None = None
    allow_uid: tuple[str, ...] = ()
    store_key: str = ""
    former_store_key: str = ""
    rate_limit_store: str = ""
    remote_admin: RemoteAdmin | None = None
    oidc: OidcSettings | None = None
    ca_vault: Path | None = None
    identity_from: str = ""
    federation: FederationOptions = field(default_factory=FederationOptions)
    outside: OutsideOptions = field(default_factory=OutsideOptions)
    webhooks: WebhookSettings | None = None


def serve_settings(options: ServeOptions) -> ServeSettings:
    """The settings; what is not given is taken from the `weft up` of this home, if one is up."""
    documents, trust_domain, bind = control_plane_settings(options.home)
    if options.ca_vault and options.outside.ca_cluster:
        raise click.UsageError("--ca-vault excludes --ca-signer and --ca-issuer")
    follow = options.documents or tuple(Path(path) for path in documents)
    for path in options.documents:
        if not path.exists():
            raise click.UsageError(f"--documents {path}: no such file or directory")
    return ServeSettings(
        home=options.home,
        follow=tuple(path.absolute() for path in follow),
        mesh=MeshSettings(
            trust_domain=options.trust_domain or trust_domain or DEFAULT_TRUST_DOMAIN, outbound_policy=options.outbound
        ),
        bind=options.bind or bind or DEFAULT_BIND,
        advertise=options.advertise,
        admin_port=options.admin_port,
        xds_port=options.xds_port,
        agent_api_port=options.agent_port,
        metrics_port=options.metrics_port,
        lease=options.lease,
        certificate_ttl=options.certificate_ttl,
        prometheus=options.prometheus,
        shared_socket=options.shared_socket.absolute() if options.shared_socket else None,
        users=_users(options),
        store_key=options.store_key,
        former_store_key=options.former_store_key,
        rate_limit_store=options.rate_limit_store,
        remote_admin=options.remote_admin,
        oidc=options.oidc,
        ca_vault=options.ca_vault.absolute() if options.ca_vault else None,
        ca_cluster=options.outside.ca_cluster,
        identity_from=workload_api_socket(options.identity_from),
        bundle_endpoint=options.federation.endpoint,
        bundle_certificate=options.federation.files,
        bundle_networks=options.federation.networks,
        imports=options.outside.imports,
        probe_networks=options.outside.probe_networks,
        kubernetes_writes=options.outside.kubernetes_writes,
        kubernetes=options.outside.kubernetes,
        shared=options.outside.shared,
        webhooks=options.webhooks,
        replicas=options.outside.replicas,
        drain=options.outside.drain,
        discovery_selectors=options.outside.selectors,
    )


def _users(options: ServeOptions) -> tuple[LocalUser, ...]:
    if bool(options.allow_uid) != bool(options.shared_socket):
        raise click.UsageError("--shared-socket and --allow-uid go together")
    try:
        return tuple(local_user_from_text(text) for text in options.allow_uid)
    except LocalUserError as error:
        raise click.UsageError(f"--allow-uid {error}") from error


def run_serve(options: ServeOptions) -> int:
    """Run until a signal comes; the exit code."""
    from weft.controlplane.serve import serve

    try:
        return serve(serve_settings(options))
    except (ServeError, PermissionsError) as error:
        raise FailedError(str(error)) from error
