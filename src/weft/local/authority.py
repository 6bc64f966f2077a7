"""The authority's directory where no control plane runs: a request for an intermediate, and the first roots."""

from __future__ import annotations

from pathlib import Path

from weft.ca.brought import Pem
from weft.ca.install import install_first, request_for_intermediate
from weft.ca.protocol import AuthorityError
from weft.ca.slots import Slots
from weft.ca.status import state_of_files, told
from weft.controlplane.lock import locked
from weft.settings.home import Home
from weft.settings.private import PermissionsError, check_private

_MOST_BYTES = 256 << 10


def print_request(home: Home, trust_domain: str) -> str:
    """The PEM request; its key stays in the home. AuthorityError if that cannot be used."""
    with locked(home):
        slots = Slots(home.ca)
        try:
            slots.prepare()
            return request_for_intermediate(slots, trust_domain)
        except (PermissionsError, OSError) as error:
            raise AuthorityError(f"cannot use the CA: {error}") from error


def status_of_files(home: Home) -> dict[str, object]:
    """Where the authority stands by its files, as ``GET /v1/ca`` has it. AuthorityError if there is none."""
    return told(state_of_files(Slots(home.ca)))


def cancel_request(home: Home) -> str:
    """Forget the request."""
    with locked(home):
        Slots(home.ca).remove_request()
    return ""


def read_files(chain: Path, root: Path | None, key: Path | None) -> dict[str, object]:
    """The files as `POST /v1/ca/install` takes them. AuthorityError or PermissionsError name the file."""
    body: dict[str, object] = {"chain": _read(chain), "chain_name": str(chain)}
    if root is not None:
        body |= {"roots": _read(root), "roots_name": str(root)}
    if key is not None:
        check_private(key)
        body |= {"key": _read(key), "key_name": str(key)}
    return body


def install_files(home: Home, body: dict[str, object], trust_domain: str) -> str:
    """The first roots of a mesh; what to say when it is done."""
    chain = Pem(str(body["chain_name"]), str(body["chain"]))
    roots = Pem(str(body["roots_name"]), str(body["roots"])) if "roots" in body else None
    key = Pem(str(body["key_name"]), str(body["key"])) if "key" in body else None
    with locked(home):
        install_first(home.ca, chain, roots, key, trust_domain)
    return "installed: the control plane uses it from its start on"


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_BYTES + 1)
    except UnicodeDecodeError as error:
        raise AuthorityError(f"{path}: expected PEM, which is text") from error
    if len(text) > _MOST_BYTES:
        raise AuthorityError(f"{path}: larger than {_MOST_BYTES >> 10} KiB; expected a few certificates")
    return text
