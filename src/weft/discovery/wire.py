"""Wire format of discovery responses, assembled from bytes that were encoded once (discovery.proto, v3)."""

from __future__ import annotations

from collections.abc import Iterable

from weft.xds.resource import frame, frame_head

_VERSION = 0x0A
"""DiscoveryResponse.version_info and DeltaDiscoveryResponse.system_version_info are both field 1."""
_RESOURCES = 0x12
_TYPE_URL = 0x22
_NONCE = 0x2A
_REMOVED = 0x32


def framed_resources(encoded: Iterable[bytes | memoryview]) -> bytes:
    """The repeated field `resources` of either response."""
    parts: list[bytes | memoryview] = []
    for body in encoded:
        parts += (frame_head(_RESOURCES, len(body)), body)
    return b"".join(parts)


def delta_response(
    type_url: str, nonce: str, version: str, encoded: Iterable[bytes], removed: Iterable[str] = ()
) -> bytes:
    """A DeltaDiscoveryResponse whose resources are encoded envoy.service.discovery.v3.Resource messages."""
    return b"".join(
        (
            frame(_VERSION, version.encode()),
            framed_resources(encoded),
            frame(_TYPE_URL, type_url.encode()),
            frame(_NONCE, nonce.encode()),
            *(frame(_REMOVED, name.encode()) for name in removed),
        )
    )


def sotw_response(type_url: str, nonce: str, version: str, resources: bytes) -> bytes:
    """A DiscoveryResponse; `resources` is the outcome of `framed_resources` over encoded google.protobuf.Any."""
    return b"".join(
        (
            frame(_VERSION, version.encode()),
            resources,
            frame(_TYPE_URL, type_url.encode()),
            frame(_NONCE, nonce.encode()),
        )
    )
