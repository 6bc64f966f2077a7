"""Whether a workload's inbound listeners are reached from here, as callers on other hosts would reach them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Iterable

from weft.model.identity import SpiffeId
from weft.model.workload import SocketAddress

CONNECT_SECONDS = 3.0


def reach_context(bundle: str) -> ssl.SSLContext:
    """TLS 1.3 that takes any workload of the mesh; who it is, is looked at afterwards."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.load_verify_locations(cadata=bundle)
    return context


async def unreachable(
    addresses: Iterable[SocketAddress], identity: SpiffeId, context: ssl.SSLContext
) -> tuple[tuple[str, str], ...]:
    """The `addresses` at which no proxy of `identity` is reached, each with why not. Takes `CONNECT_SECONDS` at most.

    We show no certificate: the listener proves itself first, and a handshake is all that we want. A listener without
    TLS, which a PeerAuthentication may ask for, counts as reached.
    """
    wanted = tuple(addresses)
    found = await asyncio.gather(*(_failure(one, identity, context) for one in wanted))
    return tuple((str(address), why) for address, why in zip(wanted, found, strict=True) if why)


async def _failure(address: SocketAddress, identity: SpiffeId, context: ssl.SSLContext) -> str:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(address.host, address.port, ssl=context, server_hostname="")
    except TimeoutError:
        return f"no answer in {CONNECT_SECONDS:g} s; a firewall may be in between"
    except ssl.SSLCertVerificationError as error:
        return f"what answers there is not of this mesh ({error.verify_message})"
    except ssl.SSLError:
        return ""
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    certificate = writer.get_extra_info("peercert") or {}
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    names = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    return "" if names == [str(identity)] else f"another workload answers there: {', '.join(names) or 'without a name'}"
