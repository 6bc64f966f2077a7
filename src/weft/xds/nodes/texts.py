"""Format strings within a message, wherever they stand: what loggers, tracers and headers are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


def replace_texts(message: Message, words: Mapping[str, str]) -> bool:
    """Put others in the place of these `words` in every text of `message`, in place; whether there were any."""
    if isinstance(message, AnyMessage):
        return _replace_packed(message, words)
    changed = False
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
            if (text := _replaced(value, words)) != value:
                setattr(message, field.name, text)
                changed = True
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            changed |= _replace_inner(field, value, words)
    return changed


def _replace_inner(field: FieldDescriptor, value: Any, words: Mapping[str, str]) -> bool:
    if not field.is_repeated:
        return replace_texts(value, words)
    kind = field.message_type
    if kind is None or not kind.GetOptions().map_entry:
        return sum(replace_texts(each, words) for each in value) > 0
    if kind.fields_by_name["value"].message_type is None:
        return False
    return sum(replace_texts(value[key], words) for key in list(value)) > 0


def _replace_packed(packed: AnyMessage, words: Mapping[str, str]) -> bool:
    if not packed.type_url or not any(word.encode() in packed.value for word in words):
        return False
    kind = descriptor_pool.Default().FindMessageTypeByName(packed.type_url.rpartition("/")[2])
    inner = message_factory.GetMessageClass(kind).FromString(packed.value)
    if not replace_texts(inner, words):
        return False
    packed.value = inner.SerializeToString(deterministic=True)
    return True


def _replaced(text: str, words: Mapping[str, str]) -> str:
    for word, other in words.items():
        text = text.replace(word, other)
    return text
