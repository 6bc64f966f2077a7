"""Labels and selectors, as Kubernetes defines them for equality-based matching."""

from __future__ import annotations

from collections.abc import Mapping

Labels = tuple[tuple[str, str], ...]
"""Key and value pairs sorted by key: hashable and in one order."""
_NAMED = ("gateway.networking.k8s.io/gateway-name", "istio.io/gateway-name")


def labels_from_mapping(mapping: Mapping[str, str]) -> Labels:
    """A mapping in canonical order."""
    return tuple(sorted(mapping.items()))


def selects(selector: Labels, labels: Labels) -> bool:
    """Whether every pair of a non-empty `selector` is among `labels`. An empty selector selects nothing."""
    return bool(selector) and set(selector) <= set(labels)


def gateway_labels(name: str, given: Labels) -> Labels:
    """Those of a gateway called `name`: the `given` ones, and where these say nothing of it the labels by which Istio's
    charts call a gateway (``istio``, its name without ``istio-``, and for a name that begins so, ``app``), and those by
    which policies find the process of a Gateway (GEP-1762, and Istio's older word)."""
    classic = {"app": name[:63]} if name.startswith("istio-") else {}
    named = dict.fromkeys(_NAMED, name) if len(name) <= 63 else {}
    istio = name.removeprefix("istio-")[:63].rstrip(".-")
    return labels_from_mapping({**named, **classic, "istio": istio, **dict(given)})
