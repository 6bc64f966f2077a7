"""The responder's process: ``python -m weft.agent.dns.process``. It outlives the agent, as Envoy does.

Names are read from a file that the agent replaces. It is looked at with each question, so that none is answered from
names that are over, and nothing is done while nobody asks.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import sys
from pathlib import Path

import msgspec

from weft.agent.dns.answers import Answerer
from weft.agent.dns.directory import Directory
from weft.agent.dns.relay import Relay
from weft.agent.dns.resolvers import Address, Resolvers, parse_resolver
from weft.agent.dns.server import Responder, listening
from weft.model.names import NamesAnswer, NameTable
from weft.telemetry.log import set_up_logging

RESOLV_CONF = Path("/etc/resolv.conf")
_NO_IPV6 = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class NamesFile:
    """The names in a file that somebody else replaces. One that cannot be read leaves those of before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._answerer = Answerer(Directory(NameTable()))

    def answerer(self) -> Answerer:
        """Answers of this moment."""
        try:
            stat = self._path.stat()
            seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if seen != self._seen:
                self._seen = seen
                answer = msgspec.json.decode(self._path.read_bytes(), type=NamesAnswer)
                if answer.table is not None:
                    self._answerer = Answerer(Directory(answer.table))
        except (OSError, msgspec.DecodeError):
            pass
        return self._answerer


async def run_responder(names: Path, listen: tuple[Address, ...], upstream: tuple[Address, ...], resolv: Path) -> None:
    """Answer for ever. OSError if an address of IPv4 cannot be bound; this host may be without IPv6."""
    file = NamesFile(names)
    relay = Relay(Resolvers(resolv, frozenset(listen), upstream).current)
    responder = Responder(file.answerer, relay)
    usable = [each for each in listen if ":" not in each[0] or await _has(each)]
    async with listening(responder, usable):
        await asyncio.Event().wait()


async def _has(address: Address) -> bool:
    """Whether this host has an address."""
    try:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=(address[0], 0)
        )
    except OSError as error:
        if error.errno in _NO_IPV6:
            return False
        raise
    transport.close()
    return True


def main() -> int:
    """The exit code: 1 if it cannot listen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=Path, required=True)
    parser.add_argument("--listen", type=parse_resolver, action="append", required=True)
    parser.add_argument("--upstream", type=parse_resolver, action="append", default=[])
    parser.add_argument("--resolv-conf", type=Path, default=RESOLV_CONF)
    asked = parser.parse_args()
    set_up_logging(timed=True)
    try:
        asyncio.run(run_responder(asked.names, tuple(asked.listen), tuple(asked.upstream), asked.resolv_conf))
    except OSError as error:
        sys.stderr.write(f"cannot listen: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
