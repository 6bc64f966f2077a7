"""What goes into a package: weft, what it depends on, and what a system has around it, as files with their modes.

Dependencies are taken from this environment, where each was installed by its hash; so a package is for the minor
version of Python that ``.venv`` has, and for this machine's architecture.
"""

from __future__ import annotations

import compileall
import contextlib
import os
import platform
import py_compile
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

import click
from tools.packages.manual import manual

from weft import __version__
from weft.local.services import KINDS, unit_file, unit_text

ROOT = Path(__file__).resolve().parent.parent.parent
PREFIX = PurePosixPath("/usr/lib/weft")
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_LOCKED = re.compile(r"^([A-Za-z0-9][-A-Za-z0-9._]*)==", re.MULTILINE)
_PATCH = "python_full_version"
_ONLY_FOR_BUILDING = {"setuptools"}
_LEFT_OUT = {"direct_url.json", "REQUESTED", "INSTALLER"}
_SHELLS = {
    "bash": "usr/share/bash-completion/completions/weft",
    "zsh": "usr/share/zsh/vendor-completions/_weft",
    "fish": "usr/share/fish/vendor_completions.d/weft.fish",
}
_SYSUSERS = """\
# The control plane keeps the mesh's keys; gateways and proxies face strangers, and shall not read them.
u weft - "weft control plane" -
u weft-proxy - "weft proxies" -
"""


@dataclass(frozen=True)
class Payload:
    """`site` is what Python imports, as (relative path, file of this machine or text); `epoch` the time of all of it,
    in seconds. A package is for this `architecture` (as uname has it)."""

    version: str
    epoch: int
    architecture: str
    site: tuple[tuple[str, Path | bytes], ...]


def build_epoch() -> int:
    """``SOURCE_DATE_EPOCH``, else the time of the last commit, else none."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    done = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else 0


def collect(epoch: int, other_patches: Path) -> Payload:
    """All files that are imported, in order of their names. What only other patch versions of this Python need is
    installed into `other_patches`. CalledProcessError if it cannot be."""
    lock = (ROOT / "requirements" / "run.txt").read_text()
    found: dict[str, Path | bytes] = dict(own_files())
    for name in sorted(set(_LOCKED.findall(lock)) - _ONLY_FOR_BUILDING):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.update(_of_distribution(metadata.distribution(name)))
    _install_for_other_patches(lock, other_patches)
    for distribution in metadata.distributions(path=[str(other_patches)]):
        found.update(_of_distribution(distribution))
    return Payload(__version__, epoch, platform.machine(), tuple(sorted(found.items())))


def _install_for_other_patches(lock: str, target: Path) -> None:
    """Packages that are not here because of the patch version that ``.venv`` happens to have: a system has another."""
    entries = [entry for entry in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE) if _PATCH in entry]
    wanted = [re.sub(r" ;[^\\\n]*", "", entry) for entry in entries if not _is_installed(_LOCKED.findall(entry)[0])]
    if not wanted or target.exists():
        return
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(wanted))
        file.flush()
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--require-hashes", "--no-compile", "--target", str(target)]
        subprocess.run([*command, "-r", file.name], check=True)


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def stage(payload: Payload, root: Path) -> None:
    """Lay a package's files out below `root`, as they will be below ``/``."""
    library = root / PREFIX.relative_to("/")
    site = library / "lib" / PYTHON / "site-packages"
    write_site(payload, site)
    (library / "bin").mkdir(parents=True)
    (library / "bin" / "python").symlink_to(f"/usr/bin/{PYTHON}")
    _write(library / "bin" / "weft", launcher(str(PREFIX / "bin" / "python")), 0o755)
    _write(library / "pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "usr" / "bin" / "weft").symlink_to(f"../lib/{PREFIX.name}/bin/weft")
    for kind in KINDS:
        _write(root / "usr/lib/systemd/system" / unit_file(kind), unit_text(kind, "/usr/bin/weft"))
    _write(root / "usr/lib/sysusers.d/weft.conf", _SYSUSERS)
    _write(root / "usr/share/man/man1/weft.1", manual(payload.version, payload.epoch))
    _write(root / "usr/share/doc/weft/copyright", (ROOT / "LICENSE").read_bytes())
    for shell, where in _SHELLS.items():
        _write(root / where, completion(shell))
    for path in (root, *root.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
        os.utime(path, (payload.epoch, payload.epoch), follow_symlinks=False)


def write_site(payload: Payload, site: Path) -> None:
    """Write what is imported into `site`, with its byte code, which does not depend on when it was made."""
    for name, content in payload.site:
        source_mode = content.stat().st_mode if isinstance(content, Path) else 0
        text = content.read_bytes() if isinstance(content, Path) else content
        _write(site / name, text, 0o755 if source_mode & 0o111 else 0o644)
    compileall.compile_dir(
        site,
        quiet=2,
        stripdir=str(site),
        prependdir=str(PREFIX / "lib" / PYTHON / "site-packages"),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def launcher(python: str) -> str:
    """The program ``weft``; variables and files of whoever runs it do not change what is imported."""
    return f"#!{python} -I\nimport sys\nfrom weft.cli.main import main\nsys.exit(main())\n"


def completion(shell: str) -> str:
    """A shell's completion script."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415

    from weft.cli.main import weft  # noqa: PLC0415

    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"there is no completion for {shell}")
    return made(weft, {}, "weft", "_WEFT_COMPLETE").source()


def own_files() -> Iterator[tuple[str, Path | bytes]]:
    """What is imported of weft itself, with what describes it, as a payload has them."""
    source = ROOT / "src"
    for path in (source / "weft").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield str(path.relative_to(source)), path
    yield from _of_distribution(metadata.distribution("weft"), only_metadata=True)


def _of_distribution(
    found: metadata.Distribution, *, only_metadata: bool = False
) -> Iterator[tuple[str, Path | bytes]]:
    """Its files that are imported, with a list of them."""
    record = []
    for file in found.files or ():
        inside = not file.is_absolute() and ".." not in file.parts and "__pycache__" not in file.parts
        described = file.parts[0].endswith(".dist-info") if inside else False
        if not inside or file.name in _LEFT_OUT or file.name == "RECORD" or (only_metadata and not described):
            continue
        path = Path(str(file.locate()))
        if path.is_file() and path.suffix != ".pyi":
            yield str(file), path
            record.append(f"{file},,")
    directory = next((line.partition("/")[0] for line in record if ".dist-info/" in line), "")
    if directory:
        yield f"{directory}/RECORD", "\n".join([*sorted(record), f"{directory}/RECORD,,", ""]).encode()


def _write(path: Path, text: str | bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
