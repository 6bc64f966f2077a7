"""Requests as they come from the wire, parsed into what the sessions take."""

from __future__ import annotations

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from weft.discovery.delta import DeltaRequest
from weft.discovery.session import RefusedRequestError
from weft.discovery.sotw import SotwRequest
from weft.model.printable import printable


def delta_request(raw: bytes) -> tuple[str, DeltaRequest]:
    """The node id (empty if the request has none) and the request."""
    try:
        message = discovery_pb2.DeltaDiscoveryRequest.FromString(raw)
    except DecodeError as error:
        raise RefusedRequestError("bad-message", "not a DeltaDiscoveryRequest") from error
    node = message.node.id if message.HasField("node") else ""
    return node, DeltaRequest(
        message.type_url,
        tuple(message.resource_names_subscribe),
        tuple(message.resource_names_unsubscribe),
        dict(message.initial_resource_versions),
        message.response_nonce,
        message.error_detail.message if message.HasField("error_detail") else None,
    )


def client_version(raw: bytes, *, delta: bool) -> str:
    """What the sender of a first request says it is, such as ``1.40.0`` of Envoy; empty if it does not."""
    kind = discovery_pb2.DeltaDiscoveryRequest if delta else discovery_pb2.DiscoveryRequest
    try:
        node = kind.FromString(raw).node
    except DecodeError:
        return ""
    number = node.user_agent_build_version.version
    if number.major_number or number.minor_number:
        return f"{number.major_number}.{number.minor_number}.{number.patch}"
    return printable(node.user_agent_version, 40)


def sotw_request(raw: bytes) -> tuple[str, SotwRequest]:
    """The node id (empty if the request has none) and the request."""
    try:
        message = discovery_pb2.DiscoveryRequest.FromString(raw)
    except DecodeError as error:
        raise RefusedRequestError("bad-message", "not a DiscoveryRequest") from error
    node = message.node.id if message.HasField("node") else ""
    return node, SotwRequest(
        message.type_url,
        tuple(message.resource_names),
        message.version_info,
        message.response_nonce,
        message.error_detail.message if message.HasField("error_detail") else None,
    )
