"""Join tokens that demand proofs, at the agent API."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from admin.test_agent_api import WORKLOAD, Agent, new_request, refusals
from ca.test_attestation import private_file
from support.control import Rig
from support.spire import SpireRoot
from weft.agent.certificates import CertificateFiles
from weft.agent.parameters import JoinProofs
from weft.agent.proofs import make_proof, signature_of
from weft.ca.attestation import key_fingerprint
from weft.ca.svid import certificates_from_der, pem_of
from weft.model.distrust import Distrust, Ended
from weft.model.enrolment import Proof, RegisterRequest, proof_message
from weft.sources.distrust import put_distrust


async def made(rig: Rig, status: int = 200, **demands: Any) -> Any:
    body = {"namespace": "default", "service_account": "reviews", "demands": demands}
    async with rig.session() as session, session.post("/v1/tokens", json=body) as response:
        answer = await response.json()
        assert response.status == status, answer
        return answer


async def test_a_token_for_a_key_is_used_by_its_holder_only(rig: Rig, tmp_path: Path) -> None:
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    token = (await made(rig, key=key_fingerprint(key.public_key()), networks=["127.0.0.0/8"]))["token"]
    agent, (_, csr) = Agent(rig, tmp_path, token=token), new_request()

    async def join(nonce: str, mine: Any, status: int) -> Any:
        proof = make_proof(nonce, csr, JoinProofs(key=private_file(mine, tmp_path)), CertificateFiles(tmp_path))
        return await agent.call("POST", "/v1/workloads", RegisterRequest(WORKLOAD, csr, proof=proof), status)

    assert (await agent.register(status=403))["code"] == "proof-missing"
    nonce = (await agent.call("GET", "/v1/nonce"))["nonce"]
    assert (await join("1.made-up.x", key, 403))["code"] == "proof-missing"
    assert (await join(nonce, other, 403))["code"] == "proof-wrong"
    [row] = (await _tokens(rig))["tokens"]
    assert (row["state"], row["demands"][0]) == ("valid", "from 127.0.0.0/8"), "a refusal does not use it up"
    await join(nonce, key, 200)
    assert (await _tokens(rig))["tokens"][0]["state"] == "used"
    assert set(await refusals(rig)) == {"proof-missing", "proof-wrong"}


async def test_a_token_for_another_network_is_of_no_use_here(rig: Rig, tmp_path: Path) -> None:
    token = (await made(rig, networks=["10.0.0.0/8"]))["token"]
    answer = await Agent(rig, tmp_path, token=token).register(status=403)
    assert answer["error"] == "the token works from 10.0.0.0/8, this comes from 127.0.0.1"


async def test_what_cannot_be_demanded_makes_no_token(rig: Rig) -> None:
    assert "expected sha256:" in (await made(rig, 400, key="x"))["error"]
    assert (await _tokens(rig))["tokens"] == []


async def _tokens(rig: Rig) -> Any:
    async with rig.session() as session, session.get("/v1/tokens") as response:
        return await response.json()


async def test_an_svid_of_the_other_source_joins_without_a_token(rig: Rig, tmp_path: Path) -> None:
    root, mine = SpireRoot(1, "cluster.local"), ec.generate_private_key(ec.SECP256R1())
    agent, (_, csr) = Agent(rig, tmp_path), new_request()

    async def join(status: int, account: str = "reviews", **changes: Any) -> Any:
        nonce = (await agent.call("GET", "/v1/nonce"))["nonce"]
        message = proof_message(nonce, csr)
        chain = certificates_from_der(root.svid(mine, f"spiffe://cluster.local/ns/default/sa/{account}", 600))
        found = {"nonce": nonce, "svid": pem_of(chain), "svid_signature": signature_of(mine, message, ""), **changes}
        return await agent.call("POST", "/v1/workloads", RegisterRequest(WORKLOAD, csr, proof=Proof(**found)), status)

    assert "no other source" in (await join(403))["error"]
    rig.parts.authority.believe([root.certificate])
    assert (await agent.register(status=401))["code"] == "token-required"
    assert (await join(403, nonce="1.made-up.x"))["code"] == "proof-missing"
    assert "that of spiffe://cluster.local/ns/default/sa/ratings" in (await join(403, "ratings"))["error"]
    assert "does not have its key" in (await join(403, svid_signature=""))["error"]
    issued = (await join(200))["issued"]
    assert issued["others"] == pem_of([root.certificate])
    assert issued["others"] not in issued["bundle"], "it proves workloads, and not the control plane"
    assert (await join(409))["code"] == "name-taken"
    assert set(await refusals(rig)) == {"svid-refused", "proof-missing", "token-required", "name-taken"}


async def test_an_svid_is_no_proof_after_an_end_of_trust(rig: Rig, tmp_path: Path) -> None:
    root, mine = SpireRoot(1, "cluster.local"), ec.generate_private_key(ec.SECP256R1())
    rig.parts.authority.believe([root.certificate])
    agent, (_, csr) = Agent(rig, tmp_path), new_request()
    ended = Distrust("workload", "default", "reviews-v1", Ended.REMOVED, 1, time.time(), time.time() + 600)
    await rig.store.write([put_distrust(ended)])
    nonce = (await agent.call("GET", "/v1/nonce"))["nonce"]
    chain = pem_of(certificates_from_der(root.svid(mine, "spiffe://cluster.local/ns/default/sa/reviews", 600)))
    proof = Proof(nonce, svid=chain, svid_signature=signature_of(mine, proof_message(nonce, csr), ""))
    refused = await agent.call("POST", "/v1/workloads", RegisterRequest(WORKLOAD, csr, proof=proof), 403)
    assert refused["code"] == "trust-ended"
