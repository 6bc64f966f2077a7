"""The other replicas of this control plane: where they are looked for, and how this one proves itself to them."""

from __future__ import annotations

import ssl

from weft.admin.kubernetes.confirmations import Lacking
from weft.admin.replicas.replicas import Replicas
from weft.admin.replicas.telling import Telling
from weft.controlplane.certificate import ServerCertificates
from weft.controlplane.settings import ServeSettings
from weft.controlplane.spiffe_tls import spiffe_client_context
from weft.discovery.hub import Hub
from weft.discovery.status import Lack
from weft.mesh.model import Mesh
from weft.model.document import Document
from weft.settings.endpoints import Endpoints
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.replicas import ReplicaPods
from weft.telemetry.metrics import Registry, gauge


class LinkContexts:
    """The context of links to other replicas, made anew with each certificate of the control plane."""

    def __init__(self, certificates: ServerCertificates) -> None:
        self._certificates = certificates
        self._made: tuple[int, ssl.SSLContext] | None = None

    def current(self) -> ssl.SSLContext:
        """The one of now: it shows our certificate, and takes no other identity than that."""
        current = self._certificates.current
        if self._made is None or self._made[0] != current.version:
            context = spiffe_client_context(current.value.bundle, str(current.value.identity))
            self._certificates.show(context, current.value)
            self._made = (current.version, context)
        return self._made[1]


def build_replicas(
    settings: ServeSettings,
    endpoints: Endpoints,
    certificates: ServerCertificates,
    telling: Telling,
    registry: Registry,
) -> Replicas:
    """Those that the cluster tells of; without `settings.replicas` there are no others."""
    file, wanted = settings.kubernetes, settings.replicas
    if file is None or wanted is None:
        return Replicas()
    places = ReplicaPods(file.title, Credentials(file.access), wanted.namespace, wanted.labels)
    port = int(endpoints.agent_api.rpartition(":")[2])
    replicas = Replicas(places, port, LinkContexts(certificates).current, telling.boot)

    def counts() -> dict[tuple[str, ...], float]:
        unknown = len(replicas.unknown())
        return {("known",): float(len(replicas.links) - unknown), ("unknown",): float(unknown)}

    text = "Other replicas of the control plane, by whether it is known which proxies they serve."
    registry.read(lambda: [gauge("weft_replicas", text, counts(), "state")])
    return replicas


def lacking_anywhere(hub: Hub[Mesh], replicas: Replicas) -> Lacking:
    """What a proxy has not taken, to whichever replica it is connected."""

    def lacking(proxy: str, revision: int, document: Document[object]) -> Lack | None:
        here = hub.lacks(proxy, revision)
        if here is None or proxy in hub.connected() or not replicas.links:
            return here
        return replicas.lacks(document, proxy)

    return lacking
