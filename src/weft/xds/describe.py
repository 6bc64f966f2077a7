"""Resources as JSON for people (``weft proxy config``), with secrets left out."""

from __future__ import annotations

from typing import Any

from google.protobuf import symbol_database
from google.protobuf.json_format import MessageToDict

from weft.xds import build
from weft.xds.snapshot import ROUTES, Resource

_REDACTED = "[redacted]"
_SECRET_FIELDS = frozenset(
    {
        "private_key", "password", "pkcs12", "session_ticket_keys", "generic_secret",
        "users",  # of basic_auth: names and hashes
        "authorization_request",  # of ext_authz: headers that a document adds, and the caller's
    }
)  # fmt: skip
_API_KEY = ("key", "client")
"""The fields of a client of api_key_auth, of which the first is secret."""
_COMPILER = build
"""Importing the compiler registers every message type that a resource can hold, also inside an Any."""


def describe_resource(resource: Resource) -> dict[str, Any]:
    """`resource` as Envoy's JSON with field names as in its documentation. Keys and passwords are ``[redacted]``."""
    name = resource.type_url.rpartition("/")[2]
    message = symbol_database.Default().GetSymbol(name).FromString(resource.body)
    described: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    redacted: dict[str, Any] = _without_secrets(described)
    return redacted


def describe_with_origins(resource: Resource) -> dict[str, Any]:
    """`describe_resource` with the places of the documents that shaped it as ``origins``: they are not in its bytes.
    Routes say theirs one by one."""
    described = describe_resource(resource)
    if resource.origins and resource.type_url != ROUTES:
        described["origins"] = [str(origin) for origin in resource.origins]
    return described


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == frozenset(_API_KEY):
        return {**value, _API_KEY[0]: _REDACTED}
    if isinstance(value, dict):
        return {key: _REDACTED if key in _SECRET_FIELDS else _without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return value
