"""Generate typed stubs (.pyi) for the protobuf classes from the descriptors that are installed.

The protobuf packages carry no type information. This reads the descriptors of every module they install, asks
mypy-protobuf for stubs, and writes them below build/stubs, where mypy finds them. A stamp of the versions makes
the second call instant. Run it as ``python tools/stubs.py``; ``--force`` writes the stubs again.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STUBS = ROOT / "build" / "stubs"
STAMP = "stamp"
SOURCES = ("xds-protos",)
"""Distributions whose protobuf modules get stubs. google.protobuf itself is typed by types-protobuf."""
VERSIONED = (*SOURCES, "protobuf", "mypy-protobuf")
FOREIGN = ("google/protobuf/",)
NAMESPACES = ("google",)
"""Top-level directories that stay namespace packages, because other distributions have typed parts in them."""


def wanted_stamp() -> str:
    """Everything the stubs depend on, as one line of text."""
    versions = [f"{name}={metadata.version(name)}" for name in VERSIONED]
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    return " ".join([*versions, f"tool={own}"])


def protobuf_modules(distribution: str) -> Iterator[str]:
    """Names of the generated modules that a distribution installs."""
    for file in metadata.files(distribution) or ():
        if file.name.endswith("_pb2.py"):
            yield file.as_posix().removesuffix(".py").replace("/", ".")


def code_generator_request() -> bytes:
    """A serialised CodeGeneratorRequest with every installed descriptor, dependencies first."""
    from google.protobuf import descriptor, descriptor_pb2  # noqa: PLC0415
    from google.protobuf.compiler import plugin_pb2  # noqa: PLC0415

    request = plugin_pb2.CodeGeneratorRequest()
    seen: set[str] = set()

    def add(file: descriptor.FileDescriptor) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        copy = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(copy)
        request.proto_file.append(copy)

    for distribution in SOURCES:
        for name in protobuf_modules(distribution):
            try:
                module = importlib.import_module(name)
            except ModuleNotFoundError as error:
                # A module whose package is shadowed by another one (such as the standard library's `test`) cannot be
                # used by weft either, so it needs no stub.
                if name.startswith("envoy."):
                    raise SystemExit(f"stubs: cannot import {name} from {distribution}: {error}") from error
                continue
            add(module.DESCRIPTOR)
    request.file_to_generate.extend(name for name in sorted(seen) if not name.startswith(FOREIGN))
    return request.SerializeToString(deterministic=True)


def run_plugin(request: bytes) -> dict[str, str]:
    """Pipe a request through protoc-gen-mypy; give the files it makes by their relative path."""
    from google.protobuf.compiler import plugin_pb2  # noqa: PLC0415

    plugin = Path(sysconfig.get_path("scripts")) / "protoc-gen-mypy"
    if not plugin.exists():
        raise SystemExit(f"stubs: {plugin.name} is not installed beside {sys.executable}; run './run check' to get it")
    done = subprocess.run([str(plugin)], input=request, capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"stubs: {plugin.name} failed:\n{done.stderr.decode(errors='replace')[-2000:]}")
    response = plugin_pb2.CodeGeneratorResponse.FromString(done.stdout)
    if response.error:
        raise SystemExit(f"stubs: {plugin.name} refused the descriptors: {response.error}")
    return {file.name: file.content for file in response.file}


def write_stubs(files: dict[str, str], target: Path, stamp: str) -> None:
    """Write the stubs beside the old ones and swap the directories, so that a reader never sees half of them."""
    fresh = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    for name, content in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    for directory in [path for path in fresh.rglob("*") if path.is_dir()]:
        if directory.relative_to(fresh).as_posix() not in NAMESPACES:
            (directory / "__init__.pyi").touch()
    (fresh / STAMP).write_text(stamp, encoding="utf-8")
    old = target.with_name(f"{target.name}.{os.getpid()}.old")
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def generate(target: Path = STUBS, *, force: bool = False) -> bool:
    """Bring the stubs up to date; true when they were written, false when they already were current."""
    stamp = wanted_stamp()
    try:
        current = (target / STAMP).read_text(encoding="utf-8")
    except FileNotFoundError:
        current = ""
    if current == stamp and not force:
        return False
    write_stubs(run_plugin(code_generator_request()), target, stamp)
    return True


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(description="Generate typed stubs for the installed protobuf modules.")
    parser.add_argument("--force", action="store_true", help="write them even when they are current")
    arguments = parser.parse_args()
    if generate(force=arguments.force):
        print(f"stubs: written to {STUBS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
