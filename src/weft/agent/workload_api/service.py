"""The SPIFFE Workload API over gRPC: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md.

Imported with the first connection only: gRPC costs memory that most agents never need.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # the agent starts programs, and never goes on in a fork

from cryptography.hazmat.primitives import serialization

from weft.agent.client import RefusedError
from weft.agent.errors import AgentError
from weft.agent.workload_api import messages
from weft.agent.workload_api.identities import Identities
from weft.ca.token_check import TokenError
from weft.discovery.grpc_tls import grpc
from weft.model.bundles import TrustAnswer, der_certificates

SERVICE = "SpiffeWorkloadAPI"
SECURITY_HEADER = "workload.spiffe.io"
MESSAGE_BYTES = 64 * 1024
_STOP = 0.3
_LOG = logging.getLogger(__name__)
Context = Any
"""grpc.aio.ServicerContext[bytes, bytes]"""


class WorkloadApi:
    """The five calls, for the one workload of this agent."""

    def __init__(self, identities: Identities, spiffe_id: str) -> None:
        self._identities = identities
        self._spiffe_id = spiffe_id

    async def serve(self, path: Path) -> None:
        """Listen at the unix socket `path` until cancelled."""
        options = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.max_concurrent_streams", 100)]
        server = grpc.aio.server(options=options)
        handlers: dict[str, Any] = {
            "FetchX509SVID": grpc.unary_stream_rpc_method_handler(self._x509_svid),
            "FetchX509Bundles": grpc.unary_stream_rpc_method_handler(self._x509_bundles),
            "FetchJWTSVID": grpc.unary_unary_rpc_method_handler(self._jwt_svid),
            "FetchJWTBundles": grpc.unary_stream_rpc_method_handler(self._jwt_bundles),
            "ValidateJWTSVID": grpc.unary_unary_rpc_method_handler(self._validate),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_insecure_port(f"unix:{path}")
        keeping = asyncio.create_task(self._identities.run())
        await server.start()
        await asyncio.to_thread(path.chmod, 0o600)
        try:
            await asyncio.Event().wait()
        finally:
            keeping.cancel()
            await server.stop(_STOP)

    async def _x509_svid(self, _: bytes, context: Context) -> AsyncIterator[bytes]:
        async for answer in self._follow(context, self._x509_answer):
            yield answer

    async def _x509_bundles(self, _: bytes, context: Context) -> AsyncIterator[bytes]:
        async for answer in self._follow(context, self._x509_bundles_answer):
            yield answer

    async def _jwt_bundles(self, _: bytes, context: Context) -> AsyncIterator[bytes]:
        async for answer in self._follow(context, self._jwt_bundles_answer):
            yield answer

    async def _jwt_svid(self, request: bytes, context: Context) -> bytes:
        await _check_header(context)
        try:
            wish = messages.token_wish(request)
            if wish.spiffe_id not in ("", self._spiffe_id):
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "this workload has another identity")
            if not wish.audiences:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "an audience is missing")
            answer = await self._identities.token(wish.audiences)
        except messages.MessageError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except AgentError as error:
            await context.abort(_status(error), str(error))
        return messages.jwt_svid_response(self._spiffe_id, answer.token)

    async def _validate(self, request: bytes, context: Context) -> bytes:
        await _check_header(context)
        try:
            proof = messages.token_proof(request)
            if not proof.audience or not proof.token:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "audience and token must be given")
            proven = await self._identities.check(proof.token, proof.audience)
            return messages.validate_response(proven.subject, messages.struct_of(proven.claims))
        except (TokenError, messages.MessageError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except AgentError as error:
            await context.abort(_status(error), str(error))
        raise AssertionError("the call was aborted")

    async def _follow(self, context: Context, answer: Callable[[], Awaitable[bytes]]) -> AsyncIterator[bytes]:
        """What `answer` gives, and again whenever that is something else, until the client leaves."""
        await _check_header(context)
        svid, trust = self._identities.svid, self._identities.trust
        last = b""
        async with self._identities.watched():
            while True:
                try:
                    found = await answer()
                except AgentError as error:
                    await context.abort(_status(error), str(error))
                seen = svid.version, trust.version
                if found != last:
                    last = found
                    yield found
                await _either(svid.changed(seen[0]), trust.changed(seen[1]))

    async def _x509_answer(self) -> bytes:
        svid, trust = await self._identities.current_svid(), await self._identities.current_trust()
        key = serialization.load_pem_private_key(svid.key.encode(), None).private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        own, *foreign = trust.bundles
        others = {_domain_id(one.trust_domain): der_certificates(one.roots) for one in foreign}
        chain, roots = der_certificates(svid.chain), der_certificates(own.roots)
        return messages.x509_svid_response(self._spiffe_id, chain, key, roots, others)

    async def _x509_bundles_answer(self) -> bytes:
        return messages.x509_bundles_response(_bundles(await self._identities.current_trust(), keys=False))

    async def _jwt_bundles_answer(self) -> bytes:
        return messages.jwt_bundles_response(_bundles(await self._identities.current_trust(), keys=True))


async def _check_header(context: Context) -> None:
    """A browser or a server that was led here cannot set it."""
    given = [value for name, value in context.invocation_metadata() or () if name == SECURITY_HEADER]
    if given != ["true"]:
        await context.abort(
            grpc.StatusCode.INVALID_ARGUMENT, f"the metadata '{SECURITY_HEADER}: true' is missing from the request"
        )


def _status(error: AgentError) -> grpc.StatusCode:
    if not isinstance(error, RefusedError):
        return grpc.StatusCode.UNAVAILABLE
    if error.status in (400, 413):
        return grpc.StatusCode.INVALID_ARGUMENT
    return grpc.StatusCode.PERMISSION_DENIED if error.status in (401, 403, 404) else grpc.StatusCode.UNAVAILABLE


def _bundles(trust: TrustAnswer, *, keys: bool) -> dict[str, bytes]:
    return {
        _domain_id(one.trust_domain): one.keys.encode() if keys else der_certificates(one.roots)
        for one in trust.bundles
    }


def _domain_id(trust_domain: str) -> str:
    return f"spiffe://{trust_domain}"


async def _either(*waits: Awaitable[int]) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
