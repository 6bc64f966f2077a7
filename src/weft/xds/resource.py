"""Encodes a protobuf message into a Resource: once, in one order, with its content hash as version."""

from __future__ import annotations

import hashlib

from google.protobuf.message import Message

from weft.model.origin import Origin
from weft.xds.snapshot import Resource

_VERSION_LENGTH = 16
_FIELD_1, _FIELD_2, _FIELD_3 = 0x0A, 0x12, 0x1A
"""Length-delimited fields of these numbers (https://protobuf.dev/programming-guides/encoding/)."""


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
    body = message.SerializeToString(deterministic=True) + encoded
    return resource_of(f"type.googleapis.com/{message.DESCRIPTOR.full_name}", name, body, origins, requires)


def resource_of(
    type_url: str,
    name: str,
    body: bytes,
    origins: tuple[Origin, ...] = (),
    requires: tuple[tuple[str, str], ...] = (),
) -> Resource:
    """The same of a message that is encoded already, in one order."""
    version = hashlib.sha256(body).hexdigest()[:_VERSION_LENGTH]
    return framed_resource(type_url, name, version, body, origins, requires)


def framed_resource(
    type_url: str,
    name: str,
    version: str,
    body: bytes,
    origins: tuple[Origin, ...] = (),
    requires: tuple[tuple[str, str], ...] = (),
) -> Resource:
    """A resource of an encoded message: put into a google.protobuf.Any (type_url = 1, value = 2), and that into an
    envoy.service.discovery.v3.Resource (version = 1, resource = 2, name = 3), whose bytes are kept."""
    before_body = frame(_FIELD_1, type_url.encode()) + frame_head(_FIELD_2, len(body))
    head = frame(_FIELD_1, version.encode()) + frame_head(_FIELD_2, len(before_body) + len(body))
    body_start = len(head) + len(before_body)
    return Resource(
        type_url=type_url,
        name=name,
        version=version,
        delta_bytes=b"".join((head, before_body, body, frame(_FIELD_3, name.encode()))),
        any_start=len(head),
        body_start=body_start,
        end=body_start + len(body),
        origins=origins,
        requires=requires,
    )


def frame(tag: int, value: bytes) -> bytes:
    """A length-delimited field; `tag` is one byte."""
    return frame_head(tag, len(value)) + value


def frame_head(tag: int, length: int) -> bytes:
    """What stands before the `length` bytes of a length-delimited field: its tag, and the length as a varint."""
    return bytes((tag,)) + varint(length)


def varint(number: int) -> bytes:
    """A number that is not negative, seven bits to a byte."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
