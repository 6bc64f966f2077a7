"""What a slot holds: a filter's configuration, which is a resource of its own."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Extension:
    """The filter's configuration, and the resources that it refers to, as (type, name)."""

    config: Message
    requires: tuple[tuple[str, str], ...] = ()
