"""``weft cni``: the agent of a node. It answers the plugin, keeps it where the runtime looks for it, and captures pods
whose network was made without it.

It asks nobody and has no token: what it needs to know of a pod comes from the runtime, with the plugin's call, or from
what the runtime has noted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from pathlib import Path

import msgspec

from weft import __version__
from weft.agent.cni.chain import has_entry
from weft.agent.cni.installation import Places, put, take_away
from weft.agent.cni.pods import ReadCapture, Words, capture, is_captured, release, words_of
from weft.agent.cni.records import Attachment, Records
from weft.agent.cni.requests import ADD, AGAIN, CHECK, CONTENT, DEL, NOT_READY, READY, REFUSED, UNKNOWN, Answer, Request
from weft.agent.errors import AgentError
from weft.agent.signals import Signals

_LOG = logging.getLogger(__name__)
_LOOK_EVERY = 1.0
_PATIENCE = 10.0
"""Seconds in which a call is answered, shorter than the plugin waits."""
_LARGEST = 4 * 1024 * 1024
_NO_ANNOTATIONS = (
    "the runtime does not hand on the annotations of pods, by which the mesh knows its own; containerd does"
)


class Node:
    """The agent. `places` are those of the node; `read` makes of a pod's words what is captured."""

    def __init__(self, places: Places, read: ReadCapture) -> None:
        self._places = places
        self._read = read
        self._records = Records(places.records)
        self._settled: set[str] = set()
        """Containers of which nothing remains to be done."""
        self._told: dict[str, str] = {}
        """What went wrong with one, told once."""
        self._lacking = "it has not looked yet"
        self._blind = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`; then nothing of it is left on the node, but the rules of pods that run. AgentError where
        it cannot listen."""
        server = await asyncio.start_unix_server(self._serve, sock=_listener(self._places), limit=_LARGEST)
        _LOG.info("weft %s: the agent of this node, at %s", __version__, self._places.socket)
        try:
            async with server:
                while not stop.is_set():
                    await self.look()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), _LOOK_EVERY)
        finally:
            await asyncio.to_thread(self._leave)

    async def look(self) -> None:
        """Once: the plugin is where it belongs, and no pod that wants to be captured is not."""
        lacking = ""
        try:
            if done := await asyncio.to_thread(put, self._places):
                _LOG.info("%s", done)
        except AgentError as error:
            lacking = str(error)
        if lacking and lacking != self._lacking:
            _LOG.error("pods that are made now wait until they are captured: %s", lacking)
        self._lacking = lacking
        try:
            found = await asyncio.to_thread(self._records.attachments)
        except OSError as error:
            self._lacking = f"{self._places.records}: {error.strerror}"
            return
        there = {each.container for each in found}
        for each in found:
            if each.container not in self._settled:
                await self._mend(each)
        self._settled &= there
        self._told = {container: text for container, text in self._told.items() if container in there}

    async def answer(self, request: Request) -> Answer:
        """What the plugin is told."""
        if request.command == READY:
            why = self._lacking or self._blind
            return Answer(NOT_READY, why) if why else Answer()
        if request.command not in (ADD, CHECK, DEL):
            return Answer(UNKNOWN, f"command: found {request.command!r}, expected ADD, CHECK or DEL")
        try:
            words = self._words(request)
            return await asyncio.wait_for(self._done(request, words), _PATIENCE) if words is not None else Answer()
        except TimeoutError:
            return Answer(AGAIN, f"{request.pod}: it is not captured in {_PATIENCE:g} s; the node is busy")
        except AgentError as error:
            _LOG.error("%s: %s is refused: %s", request.pod, request.command, error)
            return Answer(REFUSED, f"{request.pod}: {error}")

    def _words(self, request: Request) -> Words | None:
        annotations = request.configuration.runtime.annotations
        if annotations is not None:
            return words_of(annotations)
        if request.command == ADD and not self._blind:
            self._blind = _NO_ANNOTATIONS
            _LOG.error("%s: %s", request.pod, _NO_ANNOTATIONS)
        return None

    async def _done(self, request: Request, words: Words) -> Answer:
        if request.command == DEL:
            self._settled.discard(request.container)
            with contextlib.suppress(AgentError):  # what is not there any more needs nothing
                await asyncio.to_thread(release, request.namespace)
        elif request.command == ADD:
            firewall = await asyncio.to_thread(capture, request.namespace, words, self._read)
            self._settled.add(request.container)
            _LOG.info("%s: its connections are captured, by %s", request.pod, firewall)
        elif not await asyncio.to_thread(is_captured, request.namespace, words):
            return Answer(REFUSED, f"{request.pod}: its connections are not captured as it wants; delete the pod")
        return Answer()

    async def _mend(self, found: Attachment) -> None:
        """Capture a pod that was made while there was no plugin, or no agent: its init container waits for that."""
        try:
            if firewall := await asyncio.to_thread(self._mended, found):
                _LOG.warning("%s: it was made without this agent; it is captured now, by %s", found.pod, firewall)
        except AgentError as error:
            if self._told.get(found.container) != str(error):
                self._told[found.container] = str(error)
                _LOG.error("%s: it cannot be captured, and waits: %s", found.pod, error)
            return
        self._settled.add(found.container)

    def _mended(self, found: Attachment) -> str:
        """By which firewall; empty if nothing was to be done."""
        words = words_of(found.annotations)
        if words is None or not Path(found.namespace).exists() or is_captured(found.namespace, words):
            return ""
        return capture(found.namespace, words, self._read)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                content = await reader.readline()
            answer = await self.answer(msgspec.json.decode(content, type=Request))
        except TimeoutError:
            answer = Answer(CONTENT, "the request was not whole in time")
        except ValueError as error:
            answer = Answer(CONTENT, f"the configuration cannot be read: {error}")
        with contextlib.suppress(OSError):
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    def _leave(self) -> None:
        needed = True
        with contextlib.suppress(OSError):
            needed = any(has_entry(each.configuration) for each in self._records.attachments())
        try:
            take_away(self._places, needed=needed)
        except AgentError as error:
            _LOG.error("the plugin is left where it is, and does nothing without an agent: %s", error)
        with contextlib.suppress(OSError):
            self._places.socket.unlink()
        _LOG.info("the plugin is taken away%s", ", but for its program: pods are there that end with it" * needed)


async def run_node(places: Places, read: ReadCapture) -> None:
    """Be the agent until a signal asks to stop. AgentError."""
    signals = Signals()
    with signals.handled(lambda _: None):
        await Node(places, read).run(signals.stop)


def _listener(places: Places) -> socket.socket:
    """The socket, which is root's. AgentError."""
    try:
        places.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        places.run.chmod(0o700)
        places.socket.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(places.socket))
        places.socket.chmod(0o600)
    except OSError as error:
        raise AgentError(f"{places.socket}: it cannot listen there: {error.strerror or error}") from error
    return listener
