"""What the Gateway API's conformance suite runs in pods: its programs, in images of the very names that it asks for."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.go_programs import GoPrograms, NotBuiltError, go_command
from tools.images.oci import Entry, Image, write_archive, write_layer
from tools.kubernetes import PROGRAMS

SUITE = GoPrograms(
    "kubernetes",
    {
        "conformance.test": "./conformance",
        "echo-basic": "sigs.k8s.io/gateway-api/conformance/echo-basic",
    },
    PROGRAMS.flags,
    PROGRAMS.variables,
)
MESH_ECHO = GoPrograms(
    "mesh_echo",
    {"server": "istio.io/istio/pkg/test/echo/cmd/server", "client": "istio.io/istio/pkg/test/echo/cmd/client"},
    PROGRAMS.flags,
)
_NAMED = re.compile(r"image: (\S+/(echo-basic|echo-advanced|coredns):\S+)")


def suite_directory() -> Path:
    """The sources of the suite, which hold its manifests. NotBuiltError if they cannot be had."""
    command = [go_command(), "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api/conformance"]
    done = subprocess.run(command, cwd=PROGRAMS.module, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotBuiltError(f"the conformance suite cannot be found: {done.stderr.strip()}")
    return Path(done.stdout.strip())


def image_names() -> tuple[tuple[str, str], ...]:
    """The images that the suite's manifests name, each with the program that it is about."""
    manifests = [path.read_text() for path in suite_directory().rglob("*.yaml")]
    found = {match.groups() for text in manifests for match in _NAMED.finditer(text)}
    return tuple(sorted((name, program) for name, program in found))


def write_images(directory: Path) -> Iterator[Path]:
    """Archives of all images, written one after the other into `directory`."""
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        for number, (name, program) in enumerate(image_names()):
            layer = Path(scratch) / f"{number}.layer"
            entries, entrypoint = _contents(program, Path(scratch))
            write_layer(layer, entries, 0)
            target = directory / f"{number}-{program}.tar"
            write_archive(Image(name, (layer,), (entrypoint,), environment={"PATH": "/usr/local/bin"}), target)
            yield target


def _contents(program: str, scratch: Path) -> tuple[list[Entry], str]:
    if program == "coredns":
        return [Entry("/coredns", PROGRAMS.program("coredns"), 0o755)], "/coredns"
    if program == "echo-basic":
        return [Entry("/echo-basic", SUITE.program("echo-basic"), 0o755)], "/echo-basic"
    certificate, key = _certificate(scratch)
    programs = [Entry(f"/usr/local/bin/{name}", MESH_ECHO.program(name), 0o755) for name in MESH_ECHO.programs]
    return [*programs, Entry("/cert.crt", certificate), Entry("/cert.key", key)], "/usr/local/bin/server"


def _certificate(scratch: Path) -> tuple[Path, Path]:
    """What a server shows that nobody checks."""
    certificate, key = scratch / "cert.crt", scratch / "cert.key"
    if not certificate.exists():
        made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        named = ["-days", "30", "-subj", "/CN=echo", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run([*made, *named], check=True, capture_output=True)
    return certificate, key


def build() -> int:
    """Build what is not built; the exit code."""
    return PROGRAMS.run() or SUITE.run() or MESH_ECHO.run()
