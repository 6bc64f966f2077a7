"""Envoy's statistics of traffic taken apart: the answer of its admin interface to SERIES_QUERY as Series."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from weft.model.identity import DNS_SUFFIX, is_dns_label, spiffe_id_from_text
from weft.model.series import Bins, Peer, Reporter, Series, SeriesKey, SeriesProtocol, bins_count

SERIES_QUERY = "/stats?format=json&histogram_buckets=detailed&filter=^weft%5C."
"""What to ask the admin interface for."""
_PREFIX = "weft."
_KEY = ".key."
_SEPARATOR = ";"
Kept = Literal["duration", "closed"]
"""The statistic of requests, and of connections, that there is one of for each that was kept."""
_FIELDS = 8
_KEPT: dict[str, Kept] = {"duration": "duration", "closed": "closed"}
_REPORTERS: dict[str, Reporter] = {"outbound": "source", "gateway": "source", "inbound": "destination"}
_TUNNEL = re.compile(r"http-tunnel|tunnel\|.*")
"""Clusters into which a CONNECT is led, to be looked at inside."""
_CONNECT = "CONNECT"
_INBOUND = "inbound|"
_SUBJECT = re.compile(
    r"(?:title=([-a-z0-9]{1,63}),)?"
    r"(?:UID=[-\w]{1,63},)?(?:serialNumber=[0-9.]{3,40},)?(?:OU=([-\w.]{1,64}),)?(?:O=([-\w.]{1,64}),)?"
    r"(?:CN|pseudonym)=([-a-z0-9]{1,63})\.([-a-z0-9]{1,63})",
    re.ASCII,
)
_FLAGS = re.compile(r"[A-Z,]{1,40}")
_NUMBER = re.compile(r"[0-9]{1,10}")
_NEVER_CONNECTED = frozenset({"UF", "UH", "UO", "NR", "NC", "DF"})
"""Response flags of connections that did not reach a server: they were never said to be opened."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an Envoy has counted at one moment. `requests` (without CONNECT) and `connections` are all that each
    reporter saw: more than `series` add up to where some were not kept, or have been forgotten. `everything` counts
    CONNECT too, and `kept` says of everything and of connections how many have a statistic of their own, by reporter,
    kind and key."""

    series: tuple[Series, ...]
    requests: dict[Reporter, int]
    connections: dict[Reporter, int]
    everything: dict[Reporter, int] = field(default_factory=dict)
    kept: dict[tuple[Reporter, Kept, str], int] = field(default_factory=dict)


class _Bin(msgspec.Struct):
    lower_bound: float
    width: float
    count: int


class _Histogram(msgspec.Struct):
    name: str
    totals: list[_Bin] = []


class _Histograms(msgspec.Struct):
    details: list[_Histogram] = []


class _Stat(msgspec.Struct):
    name: str = ""
    value: int = 0
    histograms: _Histograms | None = None


class _Stats(msgspec.Struct):
    stats: list[_Stat] = []


@dataclass(slots=True)
class _Sums:
    """What is known of one key, while the statistics are read."""

    counts: dict[str, int]
    bins: dict[str, dict[tuple[float, float], int]]


_DECODER = msgspec.json.Decoder(_Stats)


def parse_reading(body: bytes, trust_domain: str = "") -> Reading:
    """The answer to SERIES_QUERY. Statistics of a form that weft does not configure are left out; ValueError if it is
    no statistics at all. With a `trust_domain`, peers of other ones have no names but their principal: theirs may be
    like ours."""
    found: dict[SeriesKey, _Sums] = {}
    requests: dict[Reporter, int] = {}
    connections: dict[Reporter, int] = {}
    everything: dict[Reporter, int] = {}
    kept: dict[tuple[Reporter, Kept, str], int] = {}
    for stat in _DECODER.decode(body).stats:
        if stat.histograms is None:
            if not _add_to_all(connections, stat.name, ".all.closed", stat.value):
                _add(found, kept, stat.name, value=stat.value)
            continue
        for histogram in stat.histograms.details:
            count = sum(one.count for one in histogram.totals)
            if _add_to_all(requests, histogram.name, ".all", count):
                _add_to_all(everything, histogram.name, ".all", count)
            else:
                _leave_out_tunnel(requests, histogram.name, count)
                _add(found, kept, histogram.name, value=count, bins=histogram.totals)
    series = tuple(_series(key, sums) for key, sums in _told_apart(found, trust_domain).items())
    return Reading(series, requests, connections, everything, kept)


def _add_to_all(into: dict[Reporter, int], name: str, ending: str, count: int) -> bool:
    """Whether the statistic is one of everything that a reporter saw; adds it."""
    reporter = _REPORTERS.get(name.removeprefix(_PREFIX).removesuffix(ending)) if name.endswith(ending) else None
    if reporter is not None:
        into[reporter] = into.get(reporter, 0) + count
    return reporter is not None


def _leave_out_tunnel(requests: dict[Reporter, int], name: str, count: int) -> None:
    """A CONNECT is no request of its own, so it is none of everything that was seen either."""
    head, _, text = name.partition(_KEY)
    place, _, what = head.removeprefix(_PREFIX).partition(".")
    reporter = _REPORTERS.get(place)
    if reporter is None or what != "duration" or text.count(_SEPARATOR) != _FIELDS - 1:
        return
    key = _key(reporter, text, connection=False)
    if key is None or key.protocol == "tcp":
        requests[reporter] = requests.get(reporter, 0) - count


def _add(
    found: dict[SeriesKey, _Sums],
    kept: dict[tuple[Reporter, Kept, str], int],
    name: str,
    *,
    value: int,
    bins: list[_Bin] | None = None,
) -> None:
    head, _, text = name.partition(_KEY)
    place, _, what = head.removeprefix(_PREFIX).partition(".")
    reporter = _REPORTERS.get(place)
    if reporter is None or not text:
        return
    live = what.startswith("live.")
    if live:
        what, text = what.removeprefix("live."), text.rpartition(_SEPARATOR)[0]
    if text.count(_SEPARATOR) != _FIELDS - 1:
        return
    if what in _KEPT:
        kept[reporter, _KEPT[what], text] = value
    key = _key(reporter, text, connection=bins is None)
    if key is None:
        return
    sums = found.setdefault(key, _Sums({}, {}))
    if bins is None:
        sums.counts[what] = sums.counts.get(what, 0) + value
        return
    into = sums.bins.setdefault(what, {})
    for one in bins:
        into[one.lower_bound, one.width] = into.get((one.lower_bound, one.width), 0) + one.count


def _key(reporter: Reporter, text: str, *, connection: bool) -> SeriesKey | None:
    """The fields of a statistic's key; None for CONNECT into the tunnel, whose inner requests count."""
    code, flags, grpc, identity, subject, route, host, cluster = text.split(_SEPARATOR)
    if _TUNNEL.fullmatch(cluster) and code.startswith("2"):
        return None
    service, port, subset = _destination(host, cluster, route)
    tcp = connection or (bool(cluster) and (host.endswith("|tcp") or route == _CONNECT))
    protocol: SeriesProtocol = "tcp" if tcp else "grpc" if grpc else "http"
    return SeriesKey(
        reporter,
        protocol,
        service,
        port,
        subset,
        _peer(identity, subject),
        int(code) if _NUMBER.fullmatch(code) and not tcp else 0,
        flags if _FLAGS.fullmatch(flags) else "-",
        grpc if _NUMBER.fullmatch(grpc) and not tcp else "",
        "" if route == _CONNECT else route,
        forwarded=reporter == "destination" or cluster not in ("", "-"),
    )


def _destination(host: str, cluster: str, route: str) -> tuple[str, int, str]:
    """Full name, port and subset of the service: where the request went, else what its virtual host is for (before an
    application: its route's name), else the Service whose own rule took it, as when its cluster is not there."""
    if host == "-":  # no route, as where the request was refused before one was looked for
        host = ""
    if host.startswith(_INBOUND):
        host = host.removeprefix(_INBOUND).partition("|")[2]
    direction, _, rest = cluster.partition("|")
    if direction == "outbound" and rest.count("|") >= 2:
        port, subset, service = rest.split("|", 2)
        return service.removesuffix("|tcp"), _port(port), subset
    if cluster and not _TUNNEL.fullmatch(cluster):
        return "", 0, ""
    kind, _, name = route.partition(" ")
    if not host and kind == "Service" and name.count("/") == 1:
        namespace, _, service = name.partition("/")
        return f"{service}.{namespace}.svc.{DNS_SUFFIX}", 0, ""
    service, _, port = host.removesuffix("|tcp").partition("|")
    return service, _port(port), ""


def _port(text: str) -> int:
    return int(text) if _NUMBER.fullmatch(text) else 0


def _told_apart(found: dict[SeriesKey, _Sums], trust_domain: str) -> dict[SeriesKey, _Sums]:
    own = f"spiffe://{trust_domain}/"
    if not trust_domain or all(key.peer is None or key.peer.principal.startswith(own) for key in found):
        return found
    result: dict[SeriesKey, _Sums] = {}
    for key, sums in found.items():
        stranger = key.peer is not None and not key.peer.principal.startswith(own)
        named = replace(key, peer=Peer("", "", "", "", key.peer.principal)) if key.peer and stranger else key
        into = result.setdefault(named, _Sums({}, {}))
        for what, count in sums.counts.items():
            into.counts[what] = into.counts.get(what, 0) + count
        for what, bins in sums.bins.items():
            kept = into.bins.setdefault(what, {})
            for bin_, count in bins.items():
                kept[bin_] = kept.get(bin_, 0) + count
    return result


def _peer(identity: str, subject: str) -> Peer | None:
    """The workload of a certificate of the mesh. One of anybody else proves nothing here."""
    spiffe, names = spiffe_id_from_text(identity), _SUBJECT.fullmatch(subject)
    if spiffe is None or names is None:
        return None
    owner, revision, service, workload, namespace = names.groups()
    if namespace != spiffe.namespace or not is_dns_label(workload):
        return None
    return Peer(workload, namespace, service or workload, revision or "", identity, owner or "")


def _series(key: SeriesKey, sums: _Sums) -> Series:
    bins = {what: _bins(values) for what, values in sums.bins.items()}
    duration, received, sent = (bins.get(what, ()) for what in ("duration", "received", "sent"))
    counts = sums.counts
    if key.protocol != "tcp":
        return Series(key, bins_count(duration), duration, received, sent)
    tunnels = bins_count(duration)
    closed = counts.get("closed", 0) + tunnels
    opened = counts.get("opened", 0) + tunnels
    if not _NEVER_CONNECTED.isdisjoint(key.flags.split(",")):
        opened = closed
    return Series(
        key,
        max(opened, closed),
        opened=opened,
        closed=closed,
        received_bytes=counts.get("received", 0) + _total(received),
        sent_bytes=counts.get("sent", 0) + _total(sent),
    )


def _bins(values: dict[tuple[float, float], int]) -> Bins:
    return tuple(_ordered(values))


def _ordered(values: dict[tuple[float, float], int]) -> Iterator[tuple[float, float, int]]:
    for (lower, width), count in sorted(values.items()):
        if count:
            yield lower, width, count


def _total(bins: Bins) -> int:
    return round(sum((lower + width / 2) * count for lower, width, count in bins))
