"""The program that a runtime calls, as the CNI specification has it: with an agent that is real, and with none.

https://www.cni.dev/docs/spec/
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent.cni.test_node import NOBODY, eventually_ready, places, running, status
from tools import cni
from weft.agent.cni.installation import Places

__all__ = ["places"]
PREVIOUS = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": NOBODY}], "dns": {}}
POD = {
    "CNI_CONTAINERID": "abc",
    "CNI_NETNS": NOBODY,
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=front",
}
VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


@pytest.fixture(scope="module")
def program() -> Path:
    assert cni.PROGRAMS.run() == 0
    return cni.program(cni.NAME)


def configuration(places: Places, annotations: object = None, **more: Any) -> dict[str, Any]:
    told = {"io.kubernetes.cri.pod-annotations": annotations or {}}
    common = {"cniVersion": "1.0.0", "name": "pods", "type": "weft-cni", "socket": str(places.socket)}
    return {**common, "runtimeConfig": told, "prevResult": PREVIOUS, **more}


async def call(program: Path, command: str, given: object, **variables: str | None) -> tuple[int, Any, str]:
    """The exit code, what is printed (decoded, None for nothing), and what is said besides."""
    wanted = {"CNI_COMMAND": command, **POD, **variables}
    environment = {name: value for name, value in wanted.items() if value is not None}
    process = await asyncio.create_subprocess_exec(
        program, stdin=-1, stdout=-1, stderr=-1, env={"PATH": os.environ["PATH"], **environment}
    )
    text = given if isinstance(given, str) else json.dumps(given)
    out, err = await process.communicate(text.encode())
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out else None, err.decode()


async def test_it_says_which_versions_it_knows(program: Path) -> None:
    code, answer, _ = await call(program, "VERSION", {"cniVersion": "0.4.0"}, CNI_CONTAINERID=None, CNI_NETNS=None)
    assert (code, answer) == (0, {"cniVersion": "0.4.0", "supportedVersions": VERSIONS})


@pytest.mark.parametrize("version", VERSIONS)
async def test_without_an_agent_no_pod_is_kept_from_starting(program: Path, places: Places, version: str) -> None:
    given = configuration(places, status(), cniVersion=version)
    code, answer, said = await call(program, "ADD", given)
    assert (code, answer) == (0, PREVIOUS)
    assert f"the node agent of weft does not answer: dial unix {places.socket}" in said
    assert await call(program, "STATUS", given) == (0, None, "")
    assert (await call(program, "DEL", given, CNI_NETNS=None))[:2] == (0, None)
    code, answer, _ = await call(program, "CHECK", given)
    assert (code, answer["code"], answer["cniVersion"]) == (1, 11, version)


async def test_it_passes_on_what_the_agent_says(program: Path, places: Places) -> None:
    async with running(places):
        await eventually_ready(places)
        assert await call(program, "ADD", configuration(places)) == (0, PREVIOUS, "")
        code, answer, _ = await call(program, "ADD", configuration(places, status()))
        told = f"shop/front: the network namespace {NOBODY} is not there"
        assert (code, answer) == (1, {"cniVersion": "1.0.0", "code": 100, "msg": told})
        assert (await call(program, "CHECK", configuration(places, status())))[1]["code"] == 100
        assert await call(program, "CHECK", configuration(places)) == (0, None, "")
        assert await call(program, "DEL", configuration(places, status())) == (0, None, "")
        valid = [{"containerID": "abc", "ifname": "eth0"}]
        given = configuration(places, cniVersion="1.1.0", **{"cni.dev/valid-attachments": valid})
        assert await call(program, "GC", given, CNI_CONTAINERID=None) == (0, None, "")


@pytest.mark.parametrize(
    ("command", "changed", "variables", "code", "told"),
    [
        ("ADD", {"cniVersion": "0.2.0"}, {}, 1, 'cniVersion: found "0.2.0", expected one of 0.3.0, 0.3.1'),
        ("ADD", {}, {"CNI_NETNS": None}, 4, "CNI_NETNS is missing"),
        ("DEL", {}, {"CNI_CONTAINERID": ""}, 4, "CNI_CONTAINERID is missing"),
        ("CHECK", {}, {"CNI_IFNAME": None}, 4, "CNI_IFNAME is missing"),
        ("add", {}, {}, 4, 'CNI_COMMAND: found "add", expected ADD, CHECK, DEL, GC, STATUS or VERSION'),
        ("ADD", {"prevResult": None}, {}, 7, "weft-cni stands behind the plugin that makes the pods' network"),
    ],
)
async def test_what_is_wrong_has_its_code(
    program: Path,
    places: Places,
    command: str,
    changed: dict[str, Any],
    variables: dict[str, str | None],
    code: int,
    told: str,
) -> None:
    given = {key: value for key, value in configuration(places, **changed).items() if value is not None}
    status_, answer, _ = await call(program, command, given, **variables)
    assert (status_, answer["code"]) == (1, code)
    assert told in answer["msg"]


async def test_a_configuration_that_is_no_json_is_told_of(program: Path) -> None:
    code, answer, _ = await call(program, "ADD", "{")
    assert (code, answer["code"]) == (1, 6)
    assert "the configuration is no JSON" in answer["msg"]
