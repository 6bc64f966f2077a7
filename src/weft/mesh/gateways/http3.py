"""HTTP/3 at gateways: which listeners offer it, and why one that was asked to does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from weft.mesh.gateways.listeners import Listener, ListenerTls
from weft.mesh.problems import problem_at
from weft.model.document import Document
from weft.model.origin import FieldPath
from weft.model.problem import Problem
from weft.schema.annotations import HTTP3

_PATH: FieldPath = ("metadata", "annotations", HTTP3)
_NEEDED = "HTTPS listeners that speak TLS 1.3 and ask for no clients' certificates"


def asks_for_http3(*documents: Document[object] | None) -> bool:
    """Whether one of them, a Gateway or a ListenerSet and its Gateway, asks for it."""
    return any(dict(each.annotations).get(HTTP3) == "true" for each in documents if each is not None)


def offering(listeners: Iterable[Listener]) -> tuple[Listener, ...]:
    """The listeners, of which those that can offer HTTP/3."""
    return tuple([replace(each, http3=True) if _can(each) else each for each in listeners])


def http3_problems(
    document: Document[object], listeners: Iterable[tuple[FieldPath, Listener]], *, written: bool
) -> Iterator[Problem]:
    """Why `listeners`, with where they stand in a `document` that asks, do not offer it. `written`: the document has
    listeners that would, but for errors of their own."""
    some = written
    for path, listener in listeners:
        if listener.protocol != "HTTPS" or listener.tls is None:
            continue
        some = True
        if why := _fault(listener.tls):
            message = f"{why}, so it offers no HTTP/3; HTTP/1.1 and HTTP/2 are in force"
            yield problem_at(document, path, "http3-not-offered", message, _NEEDED)
    if not some:
        message = "no listener with protocol HTTPS is there to offer HTTP/3"
        yield problem_at(document, _PATH, "http3-not-offered", message, _NEEDED)


def _can(listener: Listener) -> bool:
    return listener.protocol == "HTTPS" and listener.tls is not None and not _fault(listener.tls)


def _fault(tls: ListenerTls) -> str:
    """QUIC has TLS 1.3 and nothing else (RFC 9001); Envoy asks no client for a certificate there."""
    if tls.mesh:
        return "this listener ends the mesh's mutual TLS, which Envoy does not have over QUIC"
    if tls.clients is not None:
        return "this listener asks clients for certificates, which Envoy does not do over QUIC"
    return "" if tls.highest == "1.3" else "this listener speaks TLS up to 1.2, and QUIC has 1.3 only"
