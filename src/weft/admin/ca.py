"""The certificate authority through the admin API: where it stands, its rotation, requests and what answers them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec
from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.people.calling import who_calls
from weft.admin.replies import Refused, json_body, reply
from weft.admin.routing import Route
from weft.ca.brought import Pem
from weft.ca.install import checked, install_checked, request_for_intermediate
from weft.ca.protocol import AuthorityError
from weft.ca.rotation import RotationError
from weft.ca.status import AuthorityState, RootState, told
from weft.settings.private import PermissionsError

LONGEST_OVERLAP = 30 * 24 * 3600.0


class RotateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/ca/rotate``. `overlap`: seconds both roots are trusted at least once the new one signs."""

    overlap: float = 0.0


class InstallRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /v1/ca/install``: PEM texts, each with the name it has in messages; `key` and `roots` may be
    missing."""

    chain: str
    chain_name: str = "chain"
    roots: str = ""
    roots_name: str = "root"
    key: str = ""
    key_name: str = "key"
    overlap: float = 0.0


class CertificateAuthority:
    """Handlers of ``/v1/ca``."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._authority = context.authority

    def routes(self) -> tuple[Route, ...]:
        """The rows of the route table."""
        return (
            Route("GET", "/v1/ca", self.status, "The authority: phase of a rotation, who is awaited, ends"),
            Route("POST", "/v1/ca/rotate", self.rotate, "Begin to rotate to a new root", body="JSON: overlap"),
            Route("POST", "/v1/ca/abort", self.abort, "Take a rotation back, until the old root is dropped"),
            Route("POST", "/v1/ca/csr", self.csr, "A request for an intermediate; its key stays here"),
            Route("DELETE", "/v1/ca/csr", self.cancel, "Forget the request for an intermediate"),
            Route(
                "POST",
                "/v1/ca/install",
                self.install,
                "Put an intermediate in force; another root begins a rotation",
                body="JSON: chain, roots, key (PEM), overlap",
            ),
        )

    async def status(self, _request: web.Request) -> web.Response:
        """``GET /v1/ca``."""
        return reply(self.told())

    async def rotate(self, request: web.Request) -> web.Response:
        """``POST /v1/ca/rotate``."""
        body: RotateRequest = await json_body(request, RotateRequest)
        overlap = _overlap(body.overlap)
        if not self._authority.own_root:
            raise Refused(
                409,
                "root-not-ours",
                "weft did not make this mesh's root: have a new one sign an intermediate (weft ca csr), then install "
                "it (weft ca install)",
            )
        with _told():
            self._authority.check_rotation()
            await self._record(request, "rotate root")
            await self._authority.change(lambda one: one.begin_rotation(overlap=overlap))
        return reply(self.told())

    async def abort(self, request: web.Request) -> web.Response:
        """``POST /v1/ca/abort``."""
        with _told("nothing-to-abort"):
            self._authority.check_abort()
            await self._record(request, "abort root rotation")
            await self._authority.change(lambda one: one.abort_rotation())
        return reply(self.told())

    async def csr(self, request: web.Request) -> web.Response:
        """``POST /v1/ca/csr``: the same key again until it is answered or cancelled."""
        await self._record(request, "request an intermediate")
        try:
            text = await self._authority.change(lambda one: request_for_intermediate(one.slots, one.trust_domain))
        except (AuthorityError, PermissionsError) as error:
            raise Refused(409, "ca-unusable", str(error)) from error
        except OSError as error:
            raise _unwritten(error) from error
        return reply({"csr": text})

    async def cancel(self, request: web.Request) -> web.Response:
        """``DELETE /v1/ca/csr``."""
        await self._record(request, "cancel the request for an intermediate")
        with _told():
            await self._authority.change(lambda one: one.slots.remove_request())
        return reply(self.told())

    async def install(self, request: web.Request) -> web.Response:
        """``POST /v1/ca/install``."""
        body: InstallRequest = await json_body(request, InstallRequest)
        roots = Pem(body.roots_name, body.roots) if body.roots else None
        key = Pem(body.key_name, body.key) if body.key else None
        now, chain = self._context.clock(), Pem(body.chain_name, body.chain)
        overlap = _overlap(body.overlap)
        with _told():
            brought = checked(self._authority, chain, roots, key, now)
            await self._record(request, "install root" if brought.rotates else "install intermediate", brought.root)
            await self._authority.change(lambda one: install_checked(one, brought, overlap))
        return reply(self.told())

    async def _record(self, request: web.Request, action: str, after: str = "") -> None:
        """Before it is done, since it is done in files and not in the store: nothing is done that is not recorded, and
        what fails then (a full disk) is recorded as asked for."""
        context = self._context
        detail = f"before: {self._authority.rotation.phase}, {self._authority.fingerprint}"
        detail += f"; after: {after}" if after else ""
        done = context.audit.done(who_calls(request), action, object="certificate authority", detail=detail)
        await context.store.write([done])

    def told(self) -> dict[str, object]:
        """All of it, as JSON."""
        authority = self._authority
        roots = {
            number: RootState(one.roots[0], one.root_end, one.root_key is not None)
            for number, one in authority.generations.items()
        }
        state = AuthorityState(
            authority.rotation,
            roots,
            authority.generations[authority.rotation.signs].issuer.certificate,
            authority.trust_domain,
            authority.fingerprint,
            self._context.vitals().server_ends,
            self._context.awaited(),
        )
        return told(state)


def _overlap(seconds: float) -> float:
    if not 0 <= seconds <= LONGEST_OVERLAP:
        text = f"overlap {seconds:g}: expected seconds from 0 to {LONGEST_OVERLAP:g} (30 days)"
        raise Refused(400, "bad-parameter", text)
    return seconds


@contextlib.contextmanager
def _told(rotation: str = "rotation-under-way") -> Iterator[None]:
    """Errors of the authority as answers; `rotation` is the code of one that a rotation's state causes."""
    try:
        yield
    except RotationError as error:
        raise Refused(409, rotation, str(error)) from error
    except (AuthorityError, PermissionsError) as error:
        raise Refused(400, "certificate-unusable", str(error)) from error
    except OSError as error:
        raise _unwritten(error) from error


def _unwritten(error: OSError) -> Refused:
    return Refused(503, "ca-unwritable", f"nothing was changed: {error.strerror or error}")
