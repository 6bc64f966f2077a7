"""The other replicas of this control plane: where they are looked for, and how this one proves itself to them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from weft.admin.heard import Heard
from weft.admin.replicas.replicas import Replicas
from weft.admin.replicas.steps import Steps
from weft.admin.replicas.telling import Telling
from weft.controlplane.builds import Builds
from weft.controlplane.certificate import ServerCertificates
from weft.controlplane.rate_limits import counted_apart
from weft.controlplane.settings import ServeSettings
from weft.controlplane.spiffe_tls import spiffe_client_context
from weft.counters.counters import Counters
from weft.discovery.hub import Hub
from weft.discovery.status import Lack
from weft.mesh.model import Mesh
from weft.model.document import Document
from weft.model.problem import Problem
from weft.settings.endpoints import Endpoints
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.replicas import ReplicaPods


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


@dataclass(frozen=True, slots=True)
class Served:
    """What this replica knows of its own: the hub of its proxies, its meshes, and what agents told it."""

    hub: Hub[Mesh]
    builds: Builds
    heard: Heard


class Together:
    """What several replicas are together: the others, what they are told, and what a proxy lacks wherever it is. They
    take the steps of changes together."""

    def __init__(self, replicas: Replicas, telling: Telling, served: Served, counters: Counters) -> None:
        self.replicas = replicas
        self.telling = telling
        self._hub = served.hub
        self._compiled = served.builds.compiled
        self._counters = counters
        served.builds.together(Steps(replicas, telling))

    async def run(self) -> None:
        """Follow the others for ever."""
        await self.replicas.run()

    def problems(self) -> tuple[Problem, ...]:
        """Who of the others is away, and what each of them does by itself though it is meant for all."""
        apart = counted_apart(self._counters, self._compiled, len(self.replicas.links))
        return (*self.replicas.problems(), *apart)

    def lacking(self, proxy: str, revision: int, document: Document[object]) -> Lack | None:
        """What a proxy has not taken, to whichever replica it is connected. See
        `weft.admin.kubernetes.confirmations.Lacking`."""
        here = self._hub.lacks(proxy, revision)
        if here is None or proxy in self._hub.connected() or not self.replicas.links:
            return here
        return self.replicas.lacks(document, proxy)


def build_replicas(
    settings: ServeSettings, endpoints: Endpoints, certificates: ServerCertificates, served: Served, counters: Counters
) -> Together:
    """Those that the cluster tells of; without `settings.replicas` there are no others."""
    telling = Telling(served.hub, served.builds.compiled, served.heard)
    file, wanted = settings.kubernetes, settings.replicas
    if file is None or wanted is None:
        return Together(Replicas(boot=telling.boot), telling, served, counters)
    places = ReplicaPods(file.title, Credentials(file.access), wanted.namespace, wanted.labels)
    port = int(endpoints.agent_api.rpartition(":")[2])
    replicas = Replicas(places, port, LinkContexts(certificates).current, telling.boot)
    return Together(replicas, telling, served, counters)
