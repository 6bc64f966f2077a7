"""Who else may call the admin API than the bearer of its token on this host: over TLS, by certificate, by OpenID."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from weft.admin.people.certificates import (
    Distrusting,
    Names,
    certificate_ended,
    certificate_names,
    common_roots,
    is_vouched_for,
    is_workload,
    shown_certificate,
)
from weft.admin.people.cluster_users import ClusterUsers
from weft.admin.people.gate import Entrance
from weft.admin.people.oidc import Oidc, OidcSettings, OidcSettingsError
from weft.admin.people.provider_keys import ProviderKeys
from weft.ca.authority import Authority
from weft.controlplane.certificate import ServerCertificates
from weft.controlplane.settings import RemoteAdmin, ServeError, ServeSettings
from weft.model.addresses import host_and_port, is_loopback, is_wildcard
from weft.model.printable import printable
from weft.model.problem import Problem, Severity
from weft.settings.private import check_private
from weft.sources.kubernetes.user_reviews import UserReviews

_LOOK_SECONDS = 60.0
_LONGEST_NAME = 200
_log = logging.getLogger("weft.serve")


class _Running(Protocol):
    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Others:
    """What the gate of the admin API is told, the TLS for other hosts (None: it is on loopback only), and what runs for
    ever; `problems` tells what is wrong with any of it."""

    entrance: Entrance
    tls: ssl.SSLContext | None = None
    forever: tuple[_Running, ...] = ()
    problems: Callable[[], tuple[Problem, ...]] = tuple


def build_others(
    settings: ServeSettings, authority: Authority, distrusted: Distrusting, users: UserReviews | None = None
) -> Others:
    """As the settings say; `users` tells of those of the cluster. ServeError where they cannot be."""
    keys, remote = _provider_keys(settings.oidc), settings.remote_admin
    oidc = Oidc(settings.oidc, keys) if settings.oidc is not None and keys is not None else None
    problems = keys.problems if keys is not None else tuple
    if remote is None:
        return Others(Entrance(oidc=oidc), problems=problems)
    names = [name for name in remote.names if name] + ([] if is_wildcard(remote.host) else [remote.host])
    if not names:
        raise ServeError(f"--admin-bind {remote.host} needs --admin-host NAME: the name by which others reach it")
    given = _client_roots(remote.client_ca)

    def clients() -> str:
        return given + (users.authority.value if users is not None else "")

    certificate = _certificate(settings, remote, names, authority, clients)
    trust_domain = settings.mesh.trust_domain

    def names_of(transport: asyncio.BaseTransport | None) -> Names:
        """None of who was let in by an authority of the cluster that has been replaced since."""
        if users is not None and not is_vouched_for(transport, authority.bundle + given):
            return ()
        return certificate_names(transport, lambda: authority.bundle, trust_domain, distrusted)

    def of_cluster(transport: asyncio.BaseTransport | None) -> bool:
        """A root may be the cluster's and the mesh's: workloads of it choose their subjects, and are no users."""
        vouched = users is not None and is_vouched_for(transport, users.authority.value)
        return vouched and not is_workload(shown_certificate(transport))

    entrance = Entrance(
        frozenset(name.lower() for name in names if users is None or not is_loopback(name)),
        names_of,
        lambda shown: certificate_ended(shown, trust_domain, distrusted),
        oidc,
        ClusterUsers(users) if users is not None else None,
        of_cluster,
    )
    if users is None:
        return Others(entrance, certificate.tls, (certificate,), problems)

    def told() -> tuple[Problem, ...]:
        return (*problems(), *users.problems(), *_roots_of_users(authority.bundle, users))

    return Others(entrance, certificate.tls, (certificate, users, _Renewing(users, certificate)), told)


def _roots_of_users(bundle: str, users: UserReviews) -> tuple[Problem, ...]:
    expected = "a root that the API server does not trust"
    try:
        common = common_roots(bundle, users.authority.value)
    except ValueError:  # what the cluster has there is no certificate; renewing tells
        return ()
    return tuple(
        Problem(
            Severity.WARNING,
            "root-of-users",
            f"the mesh's root '{printable(name, _LONGEST_NAME)}' is one of the API server's clients, too",
            users.origin,
            expected=expected,
        )
        for name in common
    )


class _Renewing:
    """Has the roots of the cluster's users in force when they change."""

    def __init__(self, users: UserReviews, certificate: _Certificate) -> None:
        self._users = users
        self._certificate = certificate

    async def run(self) -> None:
        version = 0
        while True:
            version = await self._users.authority.changed(version)
            try:
                self._certificate.renew()
            except (OSError, ssl.SSLError) as error:
                _log.warning("the authority of the cluster's users cannot be used: %s", error)


def remote_url(remote: RemoteAdmin | None, listener: socket.socket | None) -> str:
    """Where others reach the admin API; empty: nowhere."""
    if remote is None or listener is None:
        return ""
    name = remote.names[0] if remote.names else remote.host
    return f"https://{host_and_port(name, str(listener.getsockname()[1]))}"


def _provider_keys(settings: OidcSettings | None) -> ProviderKeys | None:
    if settings is None:
        return None
    try:
        return ProviderKeys(settings)
    except OidcSettingsError as error:
        raise ServeError(f"--oidc-issuer: {error}") from error


class _Certificate(_Running, Protocol):
    @property
    def tls(self) -> ssl.SSLContext: ...

    def renew(self) -> None: ...


def _certificate(
    settings: ServeSettings, remote: RemoteAdmin, names: list[str], authority: Authority, clients: Callable[[], str]
) -> ServerCertificates | FileCertificate:
    if remote.certificate is None or remote.key is None:
        if remote.certificate is not remote.key:
            raise ServeError("--admin-cert and --admin-key go together")
        directory, ttl = settings.home.control_plane, settings.certificate_ttl
        return ServerCertificates(authority, names, directory, ttl, clients=clients)
    return FileCertificate(remote.certificate, remote.key, authority.bundle + clients())


def _client_roots(client_ca: Path | None) -> str:
    """The roots of the user's that vouch for clients, PEM."""
    if client_ca is None:
        return ""
    try:
        found = x509.load_pem_x509_certificates(client_ca.read_bytes())
    except (OSError, ValueError) as error:
        raise ServeError(f"--admin-client-ca {client_ca}: expected certificates in PEM ({error})") from error
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in found)


class FileCertificate:
    """The certificate of two files, read again when they change. ServeError if they cannot be read at the start."""

    def __init__(
        self,
        certificate: Path,
        key: Path,
        bundle: str,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        self._files = (certificate, key)
        self._sleep = sleep
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self.tls.verify_mode = ssl.CERT_OPTIONAL
        self.tls.num_tickets = 0
        self.tls.load_verify_locations(cadata=bundle)
        check_private(key)
        try:
            self._read = self._stamps()
            self._load()
        except (OSError, ssl.SSLError) as error:
            raise ServeError(f"--admin-cert {certificate}, --admin-key {key}: {error}") from error

    def renew(self) -> None:
        """Nothing that is read once changes."""

    async def run(self) -> None:
        """Look at the files for ever; new hand-shakes use what they hold. While they do not fit, the last is used."""
        while True:
            await self._sleep(_LOOK_SECONDS)
            try:
                found = self._stamps()
                if found != self._read:
                    self._load()
                    self._read = found
                    _log.info("the admin API has a new certificate")
            except (OSError, ssl.SSLError) as error:
                _log.warning("the admin API's certificate cannot be read, the last one is used: %s", error)

    def _stamps(self) -> tuple[int, ...]:
        return tuple(one.stat().st_mtime_ns for one in self._files)

    def _load(self) -> None:
        """First on trial: a chain that does not fit its key would take the place of the one in use."""
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)
        self.tls.load_cert_chain(*self._files)
