"""What the endpoint answers: everything, collected at the moment it is asked for, in the format the client reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from weft.agent.certificates import CertificateFiles
from weft.agent.envoy_admin import EnvoyAdmin
from weft.agent.errors import AgentError
from weft.agent.metrics.application import Application, scrape
from weft.agent.metrics.envoy import envoy_families
from weft.agent.metrics.families import Family, family
from weft.agent.metrics.folded import Folded
from weft.agent.metrics.istio import istio_families
from weft.agent.metrics.own import AgentCounts, own_families, own_peer, own_trust_domain
from weft.agent.metrics.protobuf import protobuf_of
from weft.agent.metrics.text import text_of
from weft.agent.series import SERIES_QUERY, Reading, parse_reading
from weft.model.telemetry import MetricSettings

_LOG = logging.getLogger(__name__)
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
_NAMES = {PROTOBUF: "application/vnd.google.protobuf", OPENMETRICS: "application/openmetrics-text", TEXT: "text/plain"}


class Endpoint:
    """Collects from one proxy and one application. `settings` tells what documents want of it now, `lag` how old the
    oldest traffic is that the control plane was not told of, in seconds."""

    def __init__(
        self,
        admin: EnvoyAdmin,
        files: CertificateFiles,
        counts: AgentCounts,
        application: Application | None,
        settings: Callable[[], MetricSettings],
        lag: Callable[[], float],
    ) -> None:
        self._admin = admin
        self._files = files
        self._counts = counts
        self._application = application
        self._settings = settings
        self._lag = lag
        self._folded = Folded()
        self._said = False

    async def answer(self, accept: str) -> tuple[str, bytes]:
        """Content type and body for a client that accepts `accept`."""
        families = await self.families()
        kind = chosen_format(accept)
        if kind == PROTOBUF:
            return kind, protobuf_of(families)
        return kind, text_of(families, openmetrics=kind == OPENMETRICS)

    async def families(self) -> tuple[Family, ...]:
        """Everything now. What does not answer is missing, and the rest is there."""
        (body, counters, gauges), theirs = await asyncio.gather(self._envoy(), self._application_families())
        own, expiry = own_peer(self._files.chain)
        reading = parse_reading(body, own_trust_domain(self._files.chain)) if body else Reading((), {}, {})
        folded = self._folded.update(reading)
        connected = gauges.get("control_plane.connected_state") == 1
        return _unique(
            (
                *istio_families(reading, own, folded, self._settings()),
                *own_families(
                    own,
                    expiry,
                    self._files.installed,
                    self._counts,
                    connected=connected,
                    series=len(reading.series),
                    lag=self._lag(),
                ),
                *envoy_families(counters, gauges),
                *theirs,
            )
        )

    async def _envoy(self) -> tuple[bytes, dict[str, int], dict[str, int]]:
        """Series, counters and gauges. Each question makes Envoy bring its sketches up to date, which it has done when
        the next one comes: so series come last."""
        counters = await self._admin.values("Counters")
        gauges = await self._admin.values("Gauges")
        return await self._admin.body(SERIES_QUERY), counters, gauges

    async def _application_families(self) -> tuple[Family, ...]:
        if self._application is None or not self._settings().application:
            return ()
        try:
            found = await scrape(self._application)
        except AgentError as error:
            self._counts.application_failures += 1
            if not self._said:
                _LOG.warning("%s", error)
            self._said = True
            return (family("weft_agent_application_up", "gauge", "Whether its metrics could be read.", 0),)
        self._said = False
        return (family("weft_agent_application_up", "gauge", "Whether its metrics could be read.", 1), *found)


def chosen_format(accept: str) -> str:
    """The format that a client wants most of those that we write; text when it does not say."""
    best, weight = TEXT, 0.0
    for part in accept.split(","):
        media, *parameters = [one.strip().lower() for one in part.split(";")]
        wanted = next((kind for kind, name in _NAMES.items() if name == media), "")
        if wanted == PROTOBUF and "encoding=delimited" not in parameters:
            continue
        share = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                share = _share(parameter[2:])
        if wanted and share > weight:
            best, weight = wanted, share
    return best


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _unique(families: Iterable[Family]) -> tuple[Family, ...]:
    """Each name once: the formats allow no more."""
    found: dict[str, Family] = {}
    for one in families:
        found.setdefault(one.name, one)
    return tuple(found.values())
