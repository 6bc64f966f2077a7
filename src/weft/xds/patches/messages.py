"""Messages of Envoy's API from JSON, and one merged into another."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from functools import cache
from typing import Any, TypeVar

from google.protobuf import json_format, symbol_database
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

MessageT = TypeVar("MessageT", bound=Message)
_TYPE = re.compile(r"(?:[\w.-]+/)?((?:envoy|xds|udpa|google)\.[\w.]+)\.\w+")
_ANY = "typed_config"
_SOCKET = "transport_socket"
_OF_VALUES = (TypeError, ValueError, KeyError, AttributeError, OverflowError, ImportError)
"""What protobuf raises as well, for a type that is no text or a number without end."""


class BadValueError(ValueError):
    """A value is no such message; the text says which field is wrong."""


def message_from_json(text: str, into: MessageT) -> MessageT:
    """`into`, filled from JSON. BadValueError if Envoy's API has no such field or type."""
    value = json.loads(text)
    try:
        _know_types(value)
        return json_format.ParseDict(value, into)
    except (json_format.ParseError, *_OF_VALUES) as error:
        raise BadValueError(f"{into.DESCRIPTOR.name}: {str(error)[:300]}") from error


def merged(base: Message, patch: Message) -> None:
    """`patch` merged into `base` by protobuf's rules (lists get longer); a message inside an Any of the same type is
    merged too, also that of a transport socket."""
    inner = _merged_any(base, patch) if _have(_ANY, base, patch) else None
    if _have(_SOCKET, base, patch):
        merged(getattr(base, _SOCKET), getattr(patch, _SOCKET))
        rest = type(patch)()
        rest.CopyFrom(patch)
        rest.ClearField(_SOCKET)
        patch = rest
    base.MergeFrom(patch)
    if inner is not None:
        getattr(base, _ANY).CopyFrom(inner)


def _have(field: str, *messages: Message) -> bool:
    return all(field in each.DESCRIPTOR.fields_by_name and each.HasField(field) for each in messages)


def _merged_any(into: Message, change: Message) -> AnyMessage:
    base, patch, found = getattr(into, _ANY), getattr(change, _ANY), AnyMessage()
    if base.type_url != patch.type_url:
        found.CopyFrom(patch)
        return found
    kind = symbol_database.Default().GetSymbol(base.type_url.rpartition("/")[2])
    inner = kind.FromString(base.value)
    inner.MergeFrom(kind.FromString(patch.value))
    found.Pack(inner, deterministic=True)
    return found


def _know_types(value: Any) -> None:
    """Load the types that a value names."""
    if isinstance(value, dict):
        if (named := _TYPE.fullmatch(str(value.get("@type", "")))) is not None:
            _load(named[1])
        for each in value.values():
            _know_types(each)
    elif isinstance(value, list):
        for each in value:
            _know_types(each)


@cache
def _load(package: str) -> None:
    """The modules of a package of Envoy's API; nothing where there is none."""
    try:
        found = importlib.import_module(package)
    except ImportError:
        return
    for module in pkgutil.iter_modules(getattr(found, "__path__", ())):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{package}.{module.name}")
