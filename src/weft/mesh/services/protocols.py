"""Protocols: what a word of a document says that a port speaks."""

from __future__ import annotations

from weft.mesh.services.service import Protocol
from weft.schema.kinds.core import ServicePortSpec

_HTTP2 = ("http2", "grpc", "h2c", "grpc-web")
_TCP = ("tcp", "https", "tls", "mongo", "mysql", "redis", "postgres", "postgresql")
_TLS = ("https", "tls")
SERVER_SPEAKS_FIRST = frozenset((25, 53, 3306, 27017))
"""SMTP, DNS over TCP, MySQL, MongoDB: nothing could be told from what the client says, or not soon enough."""
_APP_PROTOCOLS = {
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.WEBSOCKET,
    "kubernetes.io/wss": Protocol.TCP,
}


def protocol_of_port(port: ServicePortSpec) -> Protocol:
    """What a port speaks: appProtocol first, then the port name's part before the dash, then the number, if it is that
    of a protocol in which the server speaks first (Istio's rules), else AUTO."""
    word = port.app_protocol.lower()
    if word in _APP_PROTOCOLS:
        return _APP_PROTOCOLS[word]
    found = protocol_of_word(word or port.name.lower().partition("-")[0])
    return Protocol.TCP if found is Protocol.AUTO and port.port in SERVER_SPEAKS_FIRST else found


def carries_tls(port: ServicePortSpec) -> bool:
    """Whether what it says means TLS that callers make themselves."""
    word = port.app_protocol.lower()
    return word == "kubernetes.io/wss" or word_means_tls(word or port.name.lower().partition("-")[0])


def word_means_tls(word: str) -> bool:
    """Whether a word in lower case means TLS that callers make themselves."""
    return word in _TLS


def protocol_of_word(word: str) -> Protocol:
    """What a word in lower case means."""
    if word == "http":
        return Protocol.HTTP
    if word in _HTTP2:
        return Protocol.HTTP2
    if word == "ws":
        return Protocol.WEBSOCKET
    return Protocol.TCP if word in _TCP else Protocol.AUTO
