"""Attestation at the agent API: the nonce that is signed, and what a join token demands of who shows it."""

from __future__ import annotations

from aiohttp import web

from weft.admin.context import ApiContext
from weft.admin.replies import Refused, reply
from weft.admin.standing import Standing
from weft.ca.attestation import Applicant, AttestationError, Demands, verify, verify_svid
from weft.ca.nonces import Nonces
from weft.model.enrolment import NonceResponse, Proof, RegisterRequest, proof_message
from weft.model.identity import SpiffeId
from weft.sources.workloads import workload_key


class Attestation:
    """See the module."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._nonces = Nonces(context.clock)

    async def nonce(self, _request: web.Request) -> web.Response:
        """``GET /v1/nonce``, for everybody."""
        return reply(NonceResponse(self._nonces.make()))

    def check(self, demands: Demands, body: RegisterRequest, address: str, identity: SpiffeId) -> None:
        """Refused (403) unless `body` proves what a token demands. The token stays good."""
        workload, proof = body.workload, body.proof or Proof("")
        about = workload_key(workload.namespace, workload.name)
        if body.proof is not None and not self._nonces.is_good(proof.nonce):
            text = "the nonce that was signed is not of this control plane, or older than a minute: try again"
            raise Refused(403, "proof-missing", text, about=about)
        message = proof_message(proof.nonce, body.csr)
        applicant = Applicant(address, identity, workload.proxy, message, self._context.authority.bundle)
        try:
            verify(demands, proof, applicant, self._context.clock())
        except AttestationError as error:
            raise Refused(403, error.code, str(error), about=about) from error

    def check_svid(self, body: RegisterRequest, identity: SpiffeId, standing: Standing) -> None:
        """Refused (403) unless `body` proves by an SVID of the mesh's other source of identities that it is `identity`.
        After an end of trust that is no proof: that source knows nothing of it, and renews the SVID by itself."""
        proof, roots = body.proof or Proof(""), self._context.authority.others
        about = workload_key(body.workload.namespace, body.workload.name)
        if not roots:
            text = "this control plane has no other source of identities: weft serve --identity-from"
            raise Refused(403, "svid-refused", text, about=about)
        if standing.ends:
            raise Refused(403, "trust-ended", standing.ended_text(), about=about)
        if not self._nonces.is_good(proof.nonce):
            text = "the nonce that was signed is not of this control plane, or older than a minute: try again"
            raise Refused(403, "proof-missing", text, about=about)
        message = proof_message(proof.nonce, body.csr)
        try:
            verify_svid(proof, message, identity, roots, self._context.clock())
        except AttestationError as error:
            raise Refused(403, "svid-refused", str(error), about=about) from error
