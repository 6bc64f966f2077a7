"""The annotation of an injected pod: what was put in and what was changed, by which it is taken out again."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from weft.inject.names import STATUS, Json, member


class InjectionStatus(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """`made` are the fields that were not there: ``metadata``, ``labels``, ``annotations``, ``initContainers``,
    ``volumes``. `probes` are the original actions by ``CONTAINER/FIELD``. `annotations` were put in besides this one,
    and `labels`. `warnings` are told here too, since nobody sees those of a pod that a controller makes.
    `capture` is for the node agent: by which options of ``weft pod init`` it captures the pod; None: an init container
    does it."""

    revision: str
    image: str
    init_containers: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    probes: Mapping[str, Json] = {}
    warnings: tuple[str, ...] = ()
    capture: tuple[str, ...] | None = None


def status_text(status: InjectionStatus) -> str:
    """It as the annotation's value: JSON, without what is empty."""
    return msgspec.json.encode(status, order="sorted").decode()


def status_of(pod: Json) -> InjectionStatus | None:
    """What the annotation of `pod` says; None if it has none, or one that weft did not write."""
    text = member(pod, "metadata", "annotations", STATUS)
    if not isinstance(text, str):
        return None
    try:
        return msgspec.json.decode(text, type=InjectionStatus)
    except msgspec.MsgspecError:
        return None
