"""Resources that many workloads of a node have alike, but for whose they are: changed once, then written for each.

What `weft.xds.nodes.carried` makes of a resource differs between workloads in their prefix and directory only. So it is
asked once, of an owner that nobody has; the bytes of that are taken apart where the owner stands, and put together
again for each workload, with the lengths that its names have. That costs a tenth of reading, changing and writing the
message again, which for everybody who may call everybody is most of what a node costs.
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from google.protobuf import descriptor_pool
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from weft.mesh.memo import Memo
from weft.model.origin import Origin
from weft.xds.nodes.carried import carry_resource, name_of
from weft.xds.nodes.names import CarriedName
from weft.xds.resource import resource_of, varint
from weft.xds.snapshot import EXTENSION, Resource

_NOBODY = CarriedName("\x01", "\x02")
_PREFIX, _DIRECTORY = _NOBODY.prefix.encode(), _NOBODY.directory.encode()
_MARKS = re.compile(b"(%b|%b)" % (re.escape(_PREFIX), re.escape(_DIRECTORY)))
_VARINT, _EIGHT, _DELIMITED, _FOUR = 0, 1, 2, 5
"""Wire types. There are no groups in Envoy's API."""
_VALUE_OF_ANY = 2

Part = bytes | int | tuple[bytes, tuple["Part", ...]]
"""Bytes as they are; the place of the owner's prefix (0) or directory (1); or a field that holds such: its tag, and the
parts that its length is counted of."""


@dataclass(frozen=True, slots=True, eq=False)
class Blank:
    """A resource without its owner. `name` and `requires` are those of a sidecar. Compared by identity."""

    type_url: str
    name: str
    parts: tuple[Part, ...]
    origins: tuple[Origin, ...]
    requires: tuple[tuple[str, str], ...]


def blank_resource(resource: Resource) -> Blank | None:
    """The blank of a sidecar's resource. None where it cannot be one: with slots, whose order in a map depends on their
    names, or with a text in which an owner seems to stand already."""
    if any(type_url == EXTENSION for type_url, _ in resource.requires) or _MARKS.search(resource.body):
        return None
    carried = carry_resource(resource, _NOBODY.name, _NOBODY.namespace)
    kind = descriptor_pool.Default().FindMessageTypeByName(resource.type_url.rpartition("/")[2])
    return Blank(resource.type_url, resource.name, _parts(carried.body, kind), resource.origins, resource.requires)


def filled_blank(memo: Memo, blank: Blank, name: str, namespace: str) -> Resource:
    """What `carry_resource` would have made of the resource for this workload, byte for byte."""
    whose = CarriedName(name, namespace)
    owner = (whose.prefix.encode(), whose.directory.encode())
    pieces = memo(_flat, blank, len(owner[0]), len(owner[1]))
    body = b"".join([piece if isinstance(piece, bytes) else owner[piece] for piece in pieces])
    requires = tuple([(type_url, name_of(required, whose)) for type_url, required in blank.requires])
    return resource_of(blank.type_url, name_of(blank.name, whose), body, blank.origins, requires)


def _flat(blank: Blank, prefix: int, directory: int) -> tuple[bytes | int, ...]:
    """The bytes and places of a blank in a row, for all owners of whom prefix and directory have these lengths."""
    found: list[bytes | int] = [b""]
    for piece in _flattened(blank.parts, (prefix, directory))[0]:
        if isinstance(piece, bytes) and isinstance(found[-1], bytes):
            found[-1] += piece
        else:
            found.append(piece)
    return tuple(found)


def _flattened(parts: tuple[Part, ...], lengths: tuple[int, int]) -> tuple[list[bytes | int], int]:
    """The bytes and places, and how long all of it is."""
    found: list[bytes | int] = []
    length = 0
    for part in parts:
        if isinstance(part, tuple):
            inner, size = _flattened(part[1], lengths)
            head = part[0] + varint(size)
            found += (head, *inner)
            length += len(head) + size
        else:
            found.append(part)
            length += len(part) if isinstance(part, bytes) else lengths[part]
    return found, length


def _parts(message: bytes, kind: Descriptor) -> tuple[Part, ...]:
    """An encoded message of a kind, taken apart where the owner stands."""
    found: list[Part] = []
    done = at = 0
    while at < len(message):
        begin = at
        tag, at = _read_varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire != _DELIMITED:
            at = _after(message, at, wire)
            continue
        behind_tag = at
        length, at = _read_varint(message, at)
        value, at = message[at : at + length], at + length
        if _MARKS.search(value) and (inner := _inner(message, number, kind, value)):
            found += (message[done:begin], (message[begin:behind_tag], inner))
            done = at
    found.append(message[done:])
    return tuple(part for part in found if part != b"")


def _inner(message: bytes, number: int, kind: Descriptor, value: bytes) -> tuple[Part, ...]:
    """The value of a field in which the owner seems to stand; nothing where it holds no texts."""
    if kind.full_name == "google.protobuf.Any" and number == _VALUE_OF_ANY:
        packed = AnyMessage.FromString(message).type_url.rpartition("/")[2]
        return _parts(value, descriptor_pool.Default().FindMessageTypeByName(packed))
    field = kind.fields_by_number.get(number)
    if field is None or field.type not in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_STRING):
        return ()
    if field.message_type is not None:
        return _parts(value, field.message_type)
    places: dict[bytes, Part] = {_PREFIX: 0, _DIRECTORY: 1}
    return tuple(places.get(part, part) for part in _MARKS.split(value) if part)


def _after(message: bytes, at: int, wire: int) -> int:
    """Where a field ends that has no length."""
    if wire == _VARINT:
        return _read_varint(message, at)[1]
    return at + {_EIGHT: 8, _FOUR: 4}[wire]


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
