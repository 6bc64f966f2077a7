"""Listeners of gateways in mesh words, whichever API wrote them: port, protocol, hosts, TLS, whose routes they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from weft.mesh.policies.selector import Selector
from weft.mesh.views import Certificate, ClientCheck, ClientRoots, EdgeTls, TlsVersion
from weft.model.document import ObjectKey
from weft.model.labels import Labels
from weft.model.origin import FieldPath, Origin

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""A label that every namespace has: its name."""
EVERYTHING = Selector()
Protocol = Literal["HTTP", "HTTPS", "TLS", "TCP", "UDP"]
"""HTTP and HTTPS carry requests. The others carry connections (UDP: datagrams): TLS those that are told apart by the
server name that clients ask for (SNI)."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Which routes may attach to a listener. `kinds` empty: those that its protocol can carry; `namespaces` None: every
    namespace whose labels hold."""

    kinds: tuple[str, ...] = ()
    namespaces: tuple[str, ...] | None = None
    selector: Selector = EVERYTHING

    def admits(self, kind: str, namespace: str, labels: Mapping[str, Labels]) -> bool:
        """Whether a route `kind` of `namespace` may attach; `labels` are those of every declared namespace. A
        VirtualService counts as every kind unless `kinds` is written."""
        if self.kinds and kind not in self.kinds:
            return False
        if self.namespaces is not None:
            return namespace in self.namespaces
        return self.selector.matches({NAMESPACE_LABEL: namespace, **dict(labels.get(namespace, ()))})


@dataclass(frozen=True, slots=True)
class ListenerHost:
    """A host that a listener takes (``*``: every one), and from which routes."""

    hostname: str
    admission: Admission = Admission()


@dataclass(frozen=True, slots=True)
class CredentialName:
    """The name of what holds a certificate, which is looked for in the namespace of the gateway's process, and where it
    is written. `clients`: it vouches for clients; `own`: it is also said to hold the certificate that is shown."""

    name: str
    path: FieldPath
    clients: bool = False
    own: bool = False


@dataclass(frozen=True, slots=True)
class ListenerTls:
    """How TLS ends at a listener: the certificates it shows (which of them, clients choose by the name they ask for),
    the versions and ciphers that clients may speak, and what is asked of clients' certificates, for which `roots`
    vouch. `mesh`: with the mesh's own mutual TLS. `credentials` are yet to be found where it is served."""

    certificates: tuple[Certificate, ...] = ()
    lowest: TlsVersion = "1.3"
    highest: TlsVersion = "1.3"
    ciphers: tuple[str, ...] = ()
    clients: ClientCheck | None = None
    roots: ClientRoots | None = None
    mesh: bool = False
    credentials: tuple[CredentialName, ...] = ()

    def edge(self) -> EdgeTls:
        """What a view says of it."""
        return EdgeTls(
            certificates=tuple(each.name for each in self.certificates),
            unsent=tuple(each.name for each in self.certificates if not each.chain),
            lowest=self.lowest,
            highest=self.highest,
            ciphers=self.ciphers,
            clients=self.clients,
            mesh=self.mesh,
        )


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener in force of the Gateway `gateway` (``namespace/name``), called `name` by routes that choose it.

    `tls` says how TLS ends there: HTTPS always has it, TLS where it does not pass connections on as they are. `server`
    is the name under which it is served, which is its alone among all that one gateway proxy serves. An `isolated` one
    has requests for its hosts to itself: routes of another listener of the port never get them (Gateway API). With
    `redirects`, requests are sent on to HTTPS. `automatic`: connections are passed on by the service, subset and port
    in the name that they ask for. `bind` narrows where the gateway's process listens. With
    `http3` it offers HTTP/3, too. One that is `closed` ends every connection for its hosts.
    """

    name: str
    port: int
    protocol: Protocol
    hosts: tuple[ListenerHost, ...]
    gateway: str
    object: ObjectKey
    origin: Origin
    server: str
    tls: ListenerTls | None = None
    isolated: bool = True
    redirects: bool = False
    automatic: bool = False
    bind: str = ""
    http3: bool = False
    closed: bool = False

    @property
    def hostnames(self) -> tuple[str, ...]:
        """Its hosts' names."""
        return tuple(each.hostname for each in self.hosts)

    @property
    def plain(self) -> bool:
        """Whether it carries requests without TLS: all such listeners of a port are served together."""
        return self.protocol == "HTTP"

    @property
    def datagrams(self) -> bool:
        """Whether it is for UDP, whose ports are others than those of TCP."""
        return self.protocol == "UDP"

    @property
    def carries_requests(self) -> bool:
        """Whether requests are looked at; otherwise connections are passed on."""
        return self.protocol in ("HTTP", "HTTPS")

    @property
    def secure(self) -> bool:
        """Whether clients speak TLS, so that the name they ask for chooses among the listeners of a port."""
        return self.protocol in ("HTTPS", "TLS")


def closed(listener: Listener) -> Listener:
    """In place of a listener that cannot ask its clients for certificates as it is to. Left out, its hosts would be
    those of a wider listener of the port, which may ask nobody."""
    return replace(listener, protocol="TLS", tls=None, redirects=False, http3=False, closed=True)
