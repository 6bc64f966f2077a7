"""A client of the SPIFFE Workload API: follows the SVIDs and the bundles that another authority's agent gives.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md. gRPC is imported when the first stream is
opened. What comes is bounded and only taken apart here; whether it is believed is asked elsewhere (`weft.ca.svid`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from weft.agent.workload_api.messages import GivenSvid, MessageError, given_bundles, given_svids

MESSAGE_BYTES = 1 << 20
_SERVICE = "/SpiffeWorkloadAPI/"
_METADATA = (("workload.spiffe.io", "true"),)
MessageT = TypeVar("MessageT")


class SourceError(Exception):
    """The Workload API gives nothing; the message says why. `refused`: it answered that there is nothing for us."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class WorkloadApiClient:
    """Calls to the Workload API at the unix socket `path`, each a stream that lasts until it breaks (SourceError)."""

    def __init__(self, path: str) -> None:
        self.path = path

    def x509_svids(self) -> AsyncIterator[tuple[GivenSvid, ...]]:
        """Our X.509-SVIDs, and again whenever they change."""
        return self._stream("FetchX509SVID", given_svids)

    def x509_bundles(self) -> AsyncIterator[Mapping[str, bytes]]:
        """The roots (DER) of each trust domain, by its SPIFFE ID, and again whenever they change."""
        return self._stream("FetchX509Bundles", given_bundles)

    async def _stream(self, call: str, read: Callable[[bytes], MessageT]) -> AsyncIterator[MessageT]:
        if not await asyncio.to_thread(Path(self.path).exists):
            raise SourceError(f"there is no socket {self.path}")
        grpc = _grpc()
        options = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.enable_http_proxy", 0)]
        async with grpc.aio.insecure_channel(f"unix:{self.path}", options=options) as channel:
            stream = channel.unary_stream(_SERVICE + call)(b"", metadata=_METADATA)
            try:
                async for message in stream:
                    yield read(message)
            except grpc.aio.AioRpcError as error:
                raise _failure(self.path, error.code().name, error.details()) from error
            except MessageError as error:
                raise SourceError(f"the Workload API at {self.path} answers what cannot be read: {error}") from error
        raise SourceError(f"the Workload API at {self.path} has ended the stream")


def _grpc() -> Any:
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # the agent starts programs, and never goes on in a fork
    from weft.discovery.grpc_tls import grpc  # noqa: PLC0415 - it costs memory that most agents never need

    return grpc


def _failure(path: str, code: str, details: str | None) -> SourceError:
    if code == "PERMISSION_DENIED":
        return SourceError(f"the Workload API at {path} has no identity for this process", refused=True)
    return SourceError(f"the Workload API at {path} does not answer: {code} {(details or '')[:200]!a}")
