"""The authority's directory: generations of roots with their intermediates, and the state of a rotation.

Every file is replaced as a whole, and ``rotation.json`` last: a process that is killed at any point leaves the state
before or the state after, and files of generations that no state names, which are removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509

from weft.ca.certificates import Signer, certificate_pem, key_pem, private_key_from_pem, signer_from_pem
from weft.ca.protocol import AuthorityError, PrivateKey
from weft.ca.rotation import Phase, Rotation
from weft.settings.private import check_private, make_private_directory, remove_unfinished, write_atomically

REQUEST = "request.pem"
_STATE = "rotation.json"


@dataclass(frozen=True, slots=True)
class Generation:
    """Roots, and the intermediate that issues under them. `above` stands between the two, the issuer's signer first.
    `root_key` is there for a root that weft made."""

    roots: tuple[x509.Certificate, ...]
    issuer: Signer
    above: tuple[x509.Certificate, ...] = ()
    root_key: PrivateKey | None = None

    @property
    def root(self) -> Signer | None:
        """The root with its key, if weft has it."""
        return Signer(self.root_key, self.roots[0]) if self.root_key is not None else None

    @property
    def root_end(self) -> float:
        """When the first of the roots ends."""
        return min(root.not_valid_after_utc.timestamp() for root in self.roots)


class Link(msgspec.Struct, frozen=True):
    """What a dropped root leaves behind: its certificate, and the `generation` after it as certified by it (PEM)."""

    generation: int
    former: str
    link: str

    @property
    def end(self) -> float:
        """When it is of no use any more."""
        return x509.load_pem_x509_certificate(self.link.encode()).not_valid_after_utc.timestamp()


class Kept(msgspec.Struct, frozen=True):
    """What ``rotation.json`` holds: the rotation's state, links to former roots, the newest first, and whose CA it is
    if the roots do not say it."""

    phase: str = Phase.STEADY.value
    source: int = 1
    target: int = 1
    since: float = 0.0
    overlap: float = 0.0
    epoch: int = 0
    returning: bool = False
    links: tuple[Link, ...] = ()
    trust_domain: str = ""

    @property
    def rotation(self) -> Rotation:
        """The state. ValueError for a phase of another version."""
        phase = Phase(self.phase)
        return Rotation(phase, self.source, self.target, self.since, self.overlap, self.epoch, self.returning)


class Slots:
    """The files of one directory. One process owns it. OSError and PermissionsError are the caller's to tell."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def prepare(self) -> None:
        """Make the directory, or check that others cannot read it, and remove what a crash left half written."""
        make_private_directory(self.directory)
        remove_unfinished(self.directory)

    def state(self) -> Kept:
        """The state as it was kept; that of a new authority if there is none."""
        path = self.directory / _STATE
        if not path.exists():
            return Kept()
        check_private(path)
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=Kept)
            _ = kept.rotation
        except (msgspec.DecodeError, ValueError) as error:
            raise AuthorityError(f"{path} is damaged ({error}); restore it from a backup") from error
        return kept

    def keep(self, kept: Kept) -> None:
        """Keep the state, durably, and remove the files of generations that it does not name."""
        write_atomically(self.directory / _STATE, msgspec.json.encode(kept))
        self.remove_others((kept.source, kept.target))

    def remove_others(self, numbers: Iterable[int]) -> None:
        """Remove all generations but these."""
        wanted = {path.name for number in numbers for path in self._paths(number)}
        for stem in ("root", "intermediate"):
            for path in self.directory.glob(f"{stem}*.pem"):
                if path.name not in wanted:
                    path.unlink(missing_ok=True)

    def roots(self, number: int) -> tuple[tuple[x509.Certificate, ...], PrivateKey | None] | None:
        """Roots of a generation, and the key if weft has it; None if there are none."""
        path = self._paths(number)[0]
        text = _read(path)
        if text is None:
            return None
        try:
            if "PRIVATE KEY" in text:
                root = signer_from_pem(text)
                return (root.certificate,), root.key
            return tuple(x509.load_pem_x509_certificates(text.encode())), None
        except (ValueError, IndexError) as error:
            raise _damaged(path, error) from error

    def issuer(self, number: int) -> tuple[Signer, tuple[x509.Certificate, ...]] | None:
        """The intermediate of a generation and what stands above it; None if there is none."""
        path = self._paths(number)[1]
        text = _read(path)
        if text is None:
            return None
        try:
            return signer_from_pem(text), tuple(x509.load_pem_x509_certificates(text.encode())[1:])
        except (ValueError, IndexError) as error:
            raise _damaged(path, error) from error

    def write_roots(self, number: int, roots: tuple[x509.Certificate, ...], key: PrivateKey | None) -> None:
        """Write the roots of a generation, with the key of one that weft made."""
        write_atomically(self._paths(number)[0], (key_pem(key) if key is not None else "") + certificate_pem(*roots))

    def write_issuer(self, number: int, issuer: Signer, above: tuple[x509.Certificate, ...]) -> None:
        """Write the intermediate of a generation."""
        text = key_pem(issuer.key) + certificate_pem(issuer.certificate, *above)
        write_atomically(self._paths(number)[1], text)

    def write(self, number: int, generation: Generation) -> None:
        """Write a whole generation."""
        self.write_roots(number, generation.roots, generation.root_key)
        self.write_issuer(number, generation.issuer, generation.above)

    def request_key(self) -> PrivateKey | None:
        """The key of the request for an intermediate that is to be answered, if there is one."""
        path = self.directory / REQUEST
        text = _read(path)
        if text is None:
            return None
        try:
            return private_key_from_pem(text)
        except ValueError as error:
            raise _damaged(path, error) from error

    def write_request(self, key: PrivateKey) -> None:
        """Keep the key of a request until it is answered."""
        write_atomically(self.directory / REQUEST, key_pem(key))

    def remove_request(self) -> None:
        """It is answered."""
        (self.directory / REQUEST).unlink(missing_ok=True)

    def _paths(self, number: int) -> tuple[Path, Path]:
        """Of roots and intermediate. The first generation has no number."""
        suffix = f"-{number}" if number > 1 else ""
        return self.directory / f"root{suffix}.pem", self.directory / f"intermediate{suffix}.pem"


def _read(path: Path) -> str | None:
    if not path.is_symlink() and not path.exists():
        return None
    check_private(path)
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> AuthorityError:
    return AuthorityError(f"{path} is damaged ({error}); restore it from a backup, or move it away")
