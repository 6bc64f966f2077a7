"""Names for an agent: encoded once, versioned by a hash of the bytes, shared by all agents that are told alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from weft.model.names import NamesAnswer, NameTable


@dataclass(frozen=True, slots=True, eq=False)
class EncodedNames:
    """A NamesAnswer as it is sent. Compared by identity."""

    version: str
    body: bytes


def encode_names(table: NameTable) -> EncodedNames:
    """The answer that tells a table; it has the same version wherever and whenever it is made."""
    version = hashlib.sha256(msgspec.json.encode(table)).hexdigest()[:16]
    return EncodedNames(version, msgspec.json.encode(NamesAnswer(version, table)))
