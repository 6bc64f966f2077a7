"""Running the control plane in this process, for `weft serve`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from weft.cli.failure import FailedError
from weft.controlplane.settings import DEFAULT_BIND, ServeError, ServeSettings
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
    outbound: str
    lease: float
    certificate_ttl: float


def serve_settings(options: ServeOptions) -> ServeSettings:
    """The settings; what is not given is taken from the `weft up` of this home, if one is up."""
    documents, trust_domain, bind = control_plane_settings(options.home)
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
        lease=options.lease,
        certificate_ttl=options.certificate_ttl,
    )


def run_serve(options: ServeOptions) -> int:
    """Run until a signal comes; the exit code."""
    from weft.controlplane.serve import serve

    try:
        return serve(serve_settings(options))
    except (ServeError, PermissionsError) as error:
        raise FailedError(str(error)) from error
