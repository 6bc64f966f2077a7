"""What agents ask for their applications: each for its own identity, and nothing that opens the control plane."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import jwt
import msgspec
import pytest
from cryptography import x509

from admin.test_agent_api import WORKLOAD, Agent, new_request
from admin.test_identities import revoke
from support.control import Rig, running_control
from weft.admin import workload_trust
from weft.model.bundles import TokenRequest, TrustAnswer, keys_from_set
from weft.model.enrolment import CertificateRequest, RegisterRequest

ONE = "/v1/workloads/default/reviews-v1"
OTHER = dataclasses.replace(WORKLOAD, name="ratings-v1", service_account="ratings")


@pytest.fixture
def local(rig: Rig, tmp_path: Path) -> Agent:
    return Agent(rig, tmp_path, local=True)


async def enrolled(rig: Rig, tmp_path: Path, local: Agent) -> Agent:
    """An agent of reviews-v1 that calls with its certificate, beside another workload."""
    key, csr = new_request()
    issued = (await local.call("POST", "/v1/workloads", RegisterRequest(WORKLOAD, csr)))["issued"]
    await local.call("POST", "/v1/workloads", RegisterRequest(OTHER, new_request()[1]))
    return Agent(rig, tmp_path, pem=key + issued["chain"])


async def test_a_token_is_for_the_identity_that_was_proven(rig: Rig, tmp_path: Path, local: Agent) -> None:
    agent = await enrolled(rig, tmp_path, local)
    answer = await agent.call("POST", f"{ONE}/token", TokenRequest(("there",)))
    claims = jwt.decode(answer["token"], options={"verify_signature": False})
    assert (claims["sub"], claims["aud"]) == ("spiffe://cluster.local/ns/default/sa/reviews", ["there"])
    assert answer["expires"] == claims["exp"]
    assert claims["exp"] - claims["iat"] <= 300
    for path in ("token", "application-certificate", "trust"):
        method = "GET" if path == "trust" else "POST"
        await agent.call(method, f"/v1/workloads/default/ratings-v1/{path}", TokenRequest(("there",)), status=403)
        nobody = Agent(rig, tmp_path)
        await nobody.call(method, f"{ONE}/{path}", TokenRequest(("there",)), status=401)
    await agent.call("POST", f"{ONE}/token", TokenRequest(()), status=400)
    await agent.call("POST", f"{ONE}/token", {"audiences": "there"}, status=400)
    # what is asked for beside the audiences changes nothing
    named = {"audiences": ["there"], "sub": "spiffe://cluster.local/ns/default/sa/ratings"}
    answer = await agent.call("POST", f"{ONE}/token", named)
    assert jwt.decode(answer["token"], options={"verify_signature": False})["sub"] == claims["sub"]
    assert answer["token"] not in str(await rig.audited())


async def test_an_applications_certificate_opens_nothing_here(rig: Rig, tmp_path: Path, local: Agent) -> None:
    agent = await enrolled(rig, tmp_path, local)
    key, csr = new_request()
    issued = await agent.call("POST", f"{ONE}/application-certificate", CertificateRequest(csr))
    leaf = x509.load_pem_x509_certificates(issued["chain"].encode())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert list(names.value) == [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/default/sa/reviews")]
    assert names.critical
    assert leaf.subject.rfc4514_string() == "2.5.4.46=reviews-v1.default"
    application = Agent(rig, tmp_path, pem=key + issued["chain"])
    for path in ("lease", "certificate", "token", "application-certificate"):
        await application.call("POST", f"{ONE}/{path}", {}, status=401)
    await application.call("POST", "/v1/workloads", RegisterRequest(WORKLOAD, new_request()[1]), status=401)
    for uri, name in (("spiffe://cluster.local/ns/default/sa/ratings", ""), ("", "reviews-v1.default")):
        asked = CertificateRequest(new_request(uri, name)[1])
        await agent.call("POST", f"{ONE}/application-certificate", asked, status=403)


async def test_an_applications_certificate_ends_with_the_trust_in_its_workload(
    rig: Rig, tmp_path: Path, local: Agent
) -> None:
    agent = await enrolled(rig, tmp_path, local)
    before = await agent.call("POST", f"{ONE}/application-certificate", CertificateRequest(new_request()[1]))
    await revoke(rig, workload="reviews-v1")
    listed = x509.load_pem_x509_crl((await local.call("GET", "/v1/revoked"))["revoked"].encode())
    serial = x509.load_pem_x509_certificates(before["chain"].encode())[0].serial_number
    assert listed.get_revoked_certificate_by_serial_number(serial) is not None
    await revoke(rig, what="restore", workload="reviews-v1")
    await local.call("POST", "/v1/workloads", RegisterRequest(WORKLOAD, new_request()[1]))
    after = await local.call("POST", f"{ONE}/application-certificate", CertificateRequest(new_request()[1]))
    leaf = x509.load_pem_x509_certificates(after["chain"].encode())[0]
    assert re.fullmatch(r"2\.5\.4\.5=[1-9][0-9]*\.0,2\.5\.4\.46=reviews-v1\.default", leaf.subject.rfc4514_string())


async def test_the_bundles_are_told(rig: Rig, tmp_path: Path, local: Agent) -> None:
    agent = await enrolled(rig, tmp_path, local)
    answer = msgspec.convert(await agent.call("GET", f"{ONE}/trust"), TrustAnswer)
    assert [one.trust_domain for one in answer.bundles] == ["cluster.local"]
    assert answer.bundles[0].roots == rig.parts.authority.bundle
    assert rig.parts.token_keys is not None
    assert keys_from_set(answer.bundles[0].keys) == rig.parts.token_keys.published()
    assert answer.again > 0


async def test_who_asks_too_often_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload_trust, "_AT_ONCE", 3)
    monkeypatch.setattr(workload_trust, "_ONE_SECONDS", 1e6)
    async with running_control(tmp_path) as rig:
        agent = await enrolled(rig, tmp_path, Agent(rig, tmp_path, local=True))
        for _ in range(3):
            await agent.call("GET", f"{ONE}/trust")
        await agent.call("GET", f"{ONE}/trust", status=429)
