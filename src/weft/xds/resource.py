"""Encodes a protobuf message into a Resource: once, in one order, with its content hash as version."""

from __future__ import annotations

import hashlib

from envoy.service.discovery.v3.discovery_pb2 import Resource as DeltaResource
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from weft.model.origin import Origin
from weft.xds.snapshot import Resource

_VERSION_LENGTH = 16


def encode_resource(
    message: Message,
    name: str,
    origins: tuple[Origin, ...] = (),
    requires: tuple[tuple[str, str], ...] = (),
    encoded: bytes = b"",
) -> Resource:
    """`message` as a resource called `name`, in the wire forms of both protocol variants.

    Equal messages give equal bytes, so a proxy that already holds the version needs nothing. `origins` are the
    documents that shaped it; `requires` names resources a proxy must hold first, as (type, name); `encoded` are fields
    that `message` lacks, serialised before.
    """
    type_url = f"type.googleapis.com/{message.DESCRIPTOR.full_name}"
    body = message.SerializeToString(deterministic=True) + encoded
    version = hashlib.sha256(body).hexdigest()[:_VERSION_LENGTH]
    wrapped = AnyMessage(type_url=type_url, value=body)
    delta = DeltaResource(name=name, version=version, resource=wrapped)
    return Resource(
        type_url=type_url,
        name=name,
        version=version,
        body=body,
        any_bytes=wrapped.SerializeToString(deterministic=True),
        delta_bytes=delta.SerializeToString(deterministic=True),
        origins=origins,
        requires=requires,
    )
