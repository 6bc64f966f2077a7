"""The agent of a node: what it answers the plugin, and pods that it captures in network namespaces of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cni.test_records import record
from weft.agent.cni.chain import has_entry
from weft.agent.cni.installation import Places
from weft.agent.cni.node import Node
from weft.agent.cni.pods import Words
from weft.agent.pod.rules import PodCapture
from weft.cli.pod import capture_from_words
from weft.model.proof import proof_address
from weft.testing.polling import eventually

LIST = '{"name": "pods", "plugins": [{"type": "bridge"}]}'
WORDS = ("--exclude-outbound-port=3306",)
NOBODY = "/var/run/netns/weft-nobody"
ROOT = ["nft"] if os.geteuid() == 0 else []


def status(words: tuple[str, ...] = WORDS) -> dict[str, str]:
    """Annotations of a pod that is to be captured."""
    return {"weft.dev/status": json.dumps({"revision": "default", "image": "x", "capture": words})}


def request(command: str, annotations: object, namespace: str = NOBODY) -> dict[str, Any]:
    return {
        "command": command,
        "container": "abc",
        "namespace": namespace,
        "arguments": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=front",
        "configuration": {"runtimeConfig": {"io.kubernetes.cri.pod-annotations": annotations}},
    }


def read(words: Words) -> PodCapture:
    return capture_from_words(words)


@pytest.fixture
def places() -> Iterator[Places]:
    """Directories with a short path, as sockets want it."""
    with tempfile.TemporaryDirectory() as directory:
        made = Places(*(Path(directory) / name for name in ("plugins", "networks", "records", "run", "weft-cni")))
        for each in (made.plugins, made.networks, made.records):
            each.mkdir()
        (made.networks / "10-pods.conflist").write_text(LIST)
        made.program.write_bytes(b"program")
        yield made


@contextlib.asynccontextmanager
async def running(places: Places) -> AsyncIterator[None]:
    """An agent, until it has ended in order."""
    stop = asyncio.Event()
    agent = asyncio.create_task(Node(places, read).run(stop))
    try:
        await eventually("it listens", places.socket.exists)
        yield
    finally:
        stop.set()
        await agent


async def ask(places: Places, what: object) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(places.socket))
    writer.write((what if isinstance(what, str) else json.dumps(what)).encode() + b"\n")
    writer.write_eof()
    answer: dict[str, Any] = json.loads(await reader.read())
    writer.close()
    await writer.wait_closed()
    return answer


async def test_it_is_ready_with_the_plugin_in_its_place_and_leaves_nothing(places: Places) -> None:
    file = places.networks / "10-pods.conflist"
    async with running(places):
        await eventually("the entry is there", lambda: has_entry(file.read_text()))
        await eventually_ready(places)
        assert places.socket.stat().st_mode & 0o777 == 0o600
        file.write_text(LIST)
        await eventually("it is back", lambda: has_entry(file.read_text()))
    assert file.read_text() == LIST
    assert not places.socket.exists()
    assert [*places.plugins.iterdir()] == []


async def eventually_ready(places: Places) -> None:
    await said(places, "")


async def said(places: Places, why: str) -> dict[str, Any]:
    """Its answer when it is asked whether it is ready, once that has these words; with none, when it is."""
    answer: dict[str, Any] = {}

    async def asked() -> bool:
        answer.clear()
        answer.update(await ask(places, {"command": "READY"}))
        return why in answer["msg"] if why else not answer

    await eventually("it says so", asked)
    return answer


async def test_it_says_why_it_is_not_ready(places: Places) -> None:
    file = places.networks / "10-pods.conflist"
    file.write_text('{"type": "bridge"}')
    async with running(places):
        answer = await said(places, "no list of plugins")
        assert answer["code"] == 50
        assert str(file) in answer["msg"]


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (request("ADD", {}), {}),
        (request("ADD", {"weft.dev/status": '{"revision": "default", "image": "x"}'}), {}),
        (request("DEL", status()), {}),
        (request("ADD", status()), {"code": 100, "msg": f"shop/front: the network namespace {NOBODY} is not there"}),
        (request("ADD", status(("--nothing",))), {"code": 100, "msg": "No such option '--nothing'"}),
        (request("ADD", {"weft.dev/status": "[]"}), {"code": 100, "msg": "its annotation weft.dev/status cannot be"}),
        (request("GO", {}), {"code": 4, "msg": "found 'GO', expected ADD, CHECK or DEL"}),
        ("{", {"code": 6, "msg": "the configuration cannot be read"}),
        ("[]", {"code": 6, "msg": "the configuration cannot be read"}),
    ],
)
async def test_what_the_plugin_is_answered(places: Places, asked: object, answer: dict[str, Any]) -> None:
    async with running(places):
        found = await ask(places, asked)
    assert found.get("code") == answer.get("code"), found
    assert answer.get("msg", "") in found.get("msg", "")


async def test_a_runtime_that_keeps_annotations_to_itself_is_told_of(places: Places) -> None:
    async with running(places):
        await eventually_ready(places)
        assert await ask(places, request("ADD", None)) == {}
        told = await ask(places, {"command": "READY"})
    assert "the runtime does not hand on the annotations of pods" in told["msg"]


@pytest.fixture
def namespace() -> Iterator[str]:
    """The path of a network namespace."""
    name = f"weft-test-{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield f"/var/run/netns/{name}"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


async def verified(namespace: str, words: tuple[str, ...]) -> bool:
    """What the pod's own container finds out, without a right."""
    least = ["setpriv", "--reuid=1337", "--regid=1337", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]
    asked = [sys.executable, "-m", "weft.cli.main", "pod", "verify", proof_address(words), "--timeout=0"]
    command = ["nsenter", f"--net={namespace}", *least, *asked]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait() == 0


@pytest.mark.parametrize("firewall", ROOT)
async def test_a_pod_is_captured_and_knows_it(places: Places, namespace: str, firewall: str) -> None:
    async with running(places):
        check = request("CHECK", status(), namespace)
        assert (await ask(places, check))["code"] == 100
        assert not await verified(namespace, WORDS)
        for _ in range(2):
            assert await ask(places, request("ADD", status(), namespace)) == {}
        assert await ask(places, check) == {}
        assert await verified(namespace, WORDS)
        assert not await verified(namespace, ())
        assert (await ask(places, request("CHECK", status(()), namespace)))["code"] == 100
        for _ in range(2):
            assert await ask(places, request("DEL", status(), namespace)) == {}
        assert not await verified(namespace, WORDS)


@pytest.mark.parametrize("firewall", ROOT)
async def test_a_pod_that_was_made_before_is_captured(
    places: Places, namespace: str, firewall: str, caplog: pytest.LogCaptureFixture
) -> None:
    noted = {"io.kubernetes.cri.pod-annotations": status()}
    (places.records / "pods-a-eth0").write_text(json.dumps(record(netns=namespace, capabilityArgs=noted)))
    (places.records / "pods-b-eth0").write_text(json.dumps(record(containerId="b", netns=NOBODY, capabilityArgs=noted)))
    told = "shop/front-1: it was made without this agent; it is captured now, by nft"
    async with running(places):
        await eventually("it is captured", lambda: told in caplog.text)
        assert await verified(namespace, WORDS)
    caplog.clear()
    async with running(places):
        await eventually_ready(places)
        assert await verified(namespace, WORDS)
    assert "it is captured now" not in caplog.text
