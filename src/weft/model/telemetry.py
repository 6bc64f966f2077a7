"""What documents change of the metrics that an agent serves: values that go from the mesh to agents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

LOG_DIRECTORY = "access-logs"
"""Below a workload's directory, in which Envoy is started: where its log files are, and nothing else is."""


@dataclass(frozen=True, slots=True)
class MetricTag:
    """A label with a value of its own: a constant, or one of the attributes ``destination.port``, ``response.code``,
    ``request.protocol``, ``response.grpc_status`` and ``xds.cluster_name``."""

    name: str
    constant: str = ""
    attribute: str = ""


@dataclass(frozen=True, slots=True)
class MetricOverride:
    """What is different about one of Istio's standard metrics (``REQUEST_COUNT`` and so on): it is not served, or
    without some of its labels, so that series which differ by these become one, or with others."""

    metric: str
    disabled: bool = False
    removed: tuple[str, ...] = ()
    tags: tuple[MetricTag, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricPush:
    """Where an agent also sends what it serves: the URL of an OTLP/HTTP receiver, every `interval` seconds."""

    endpoint: str
    interval: float


@dataclass(frozen=True, slots=True)
class MetricSettings:
    """What an agent serves: changes of the metrics of calls that its application makes (`source`) and of those that
    come to it (`destination`); `application`: with the application's own metrics; `push`: where it sends them too."""

    source: tuple[MetricOverride, ...] = ()
    destination: tuple[MetricOverride, ...] = ()
    application: bool = True
    push: MetricPush | None = None


UNCHANGED = MetricSettings()
"""Where no document changes anything."""


def overridden(
    overrides: Iterable[MetricOverride], metric: str, labels: Mapping[str, str], attributes: Mapping[str, str]
) -> Mapping[str, str] | None:
    """The labels of a series of `metric` as documents want them; None if it is not to be served. `attributes` are the
    series' own values of those that a MetricTag may name."""
    found = next((each for each in overrides if each.metric == metric), None)
    if found is None:
        return labels
    if found.disabled:
        return None
    kept = {name: value for name, value in labels.items() if name not in found.removed}
    return kept | {tag.name: attributes.get(tag.attribute, "") if tag.attribute else tag.constant for tag in found.tags}
