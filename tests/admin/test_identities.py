"""Identities: listed, revoked, restored, removed; and what agents with their certificates are answered after that."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from admin.test_agent_api import WORKLOAD, Agent, certificate_for, new_request, refusals
from support.control import Rig
from weft.ca.tokens import create_token
from weft.controlplane.distrust import DistrustKeeper
from weft.discovery.peer import Peer
from weft.model.distrust import Trust
from weft.model.identity import SpiffeId
from weft.testing.polling import eventually

PATH = "/v1/workloads/default/reviews-v1"
SECOND = dataclasses.replace(WORKLOAD, name="reviews-v2", ports=())
OTHER = dataclasses.replace(WORKLOAD, name="cart-v1", service_account="cart", ports=())


@pytest.fixture
def local(rig: Rig, tmp_path: Path) -> Agent:
    return Agent(rig, tmp_path, local=True)


async def call(rig: Rig, method: str, path: str, body: object = None, status: int = 200) -> Any:
    async with rig.session() as session, session.request(method, path, json=body) as response:
        answer = await response.json()
        assert response.status == status, answer
        return answer


async def revoke(rig: Rig, status: int = 200, what: str = "revoke", **body: str) -> Any:
    return await call(rig, "POST", f"/v1/identities/{what}", {"namespace": "default", **body}, status)


async def states(rig: Rig) -> dict[str, str]:
    rows = (await call(rig, "GET", "/v1/identities"))["identities"]
    return {row["workload"] or row["service_account"]: row["state"] for row in rows}


async def _are(rig: Rig, wanted: dict[str, str]) -> bool:
    return await states(rig) == wanted


async def remote(rig: Rig, directory: Path, workload: Any = WORKLOAD, token: str = "") -> tuple[Agent, Any]:
    """An agent of another host that has joined with a token, and holds the certificate it was given."""
    made = token or (await create_token(rig.store, "default", workload.service_account)).text
    key, csr = new_request()
    answer = await Agent(rig, directory, token=made).register(workload, csr=csr)
    return Agent(rig, directory, pem=key + answer["issued"]["chain"]), answer


def subject(answer: Any) -> str:
    return x509.load_pem_x509_certificates(answer["chain"].encode())[0].subject.rfc4514_string()


async def test_an_identity_is_listed_with_its_certificate(rig: Rig, local: Agent) -> None:
    answer = await local.register()
    [row] = (await call(rig, "GET", "/v1/identities"))["identities"]
    leaf = x509.load_pem_x509_certificates(answer["issued"]["chain"].encode())[0]
    assert (row["serial"], row["state"], row["certificates"]) == (f"{leaf.serial_number:x}", "active", 1)
    assert row["identity"] == "spiffe://cluster.local/ns/default/sa/reviews"
    await local.call("POST", f"{PATH}/certificate", {"csr": new_request()[1]})
    [again] = (await call(rig, "GET", "/v1/identities"))["identities"]
    assert again["certificates"] == 2
    assert again["serial"] != row["serial"]
    await local.call("DELETE", PATH, status=204)
    await eventually("it has lapsed", lambda: _are(rig, {"reviews-v1": "lapsed"}))


async def test_a_revoked_workload_gets_nothing_by_socket_certificate_or_token(
    rig: Rig, local: Agent, tmp_path: Path
) -> None:
    agent, _ = await remote(rig, tmp_path)
    await local.register(SECOND)
    answer = await revoke(rig, workload="reviews-v1", reason="stolen \x1b[31mlaptop")
    assert answer["workloads"] == ["default/reviews-v1"]
    assert "\x1b" not in answer["identity"]["reason"]
    assert [one.name for one in rig.parts.collector.snapshot.workloads] == ["reviews-v2"], "endpoints leave at once"
    for path, body in ((f"{PATH}/lease", {"state": "healthy"}), (f"{PATH}/certificate", {"csr": new_request()[1]})):
        for one in (agent, local):
            assert (await one.call("POST", path, body, 403))["code"] == "identity-revoked"
    assert (await agent.register(status=403))["code"] == "identity-revoked"
    assert (await local.register(status=403))["code"] == "identity-revoked"
    token = await create_token(rig.store, "default", "reviews")
    assert (await Agent(rig, tmp_path, token=token.text).register(status=403))["code"] == "identity-revoked"
    assert await states(rig) == {"reviews-v1": "revoked", "reviews-v2": "active"}
    assert set(await refusals(rig)) == {"identity-revoked"}
    events = {(one.action, one.object) for one in await rig.audited() if one.outcome == "done"}
    assert ("revoke identity", "workload default/reviews-v1") in events
    assert (await revoke(rig, workload="reviews-v1"))["changed"] is False


async def test_after_it_is_restored_only_new_proof_counts(rig: Rig, tmp_path: Path) -> None:
    agent, _ = await remote(rig, tmp_path)
    old = await create_token(rig.store, "default", "reviews")
    await revoke(rig, workload="reviews-v1")
    await revoke(rig, what="restore", workload="reviews-v1", reason="found again")
    assert (await agent.register(status=403))["code"] == "trust-ended"
    assert (await agent.call("POST", f"{PATH}/certificate", {"csr": new_request()[1]}, 403))["code"] == "trust-ended"
    assert (await Agent(rig, tmp_path, token=old.text).register(status=401))["code"] == "token-refused"
    fresh, answer = await remote(rig, tmp_path)
    assert subject(answer["issued"]).startswith("2.5.4.5=")
    renewed = await fresh.call("POST", f"{PATH}/certificate", {"csr": new_request()[1]})
    assert subject(renewed) == subject(answer["issued"])
    assert (await agent.call("POST", f"{PATH}/lease", {"state": "healthy"}, 403))["code"] == "trust-ended"
    assert await states(rig) == {"reviews-v1": "active"}
    assert (await revoke(rig, 404, what="restore", workload="reviews-v1"))["code"] == "not-revoked"


async def test_a_service_account_is_revoked_with_all_its_workloads(rig: Rig, local: Agent) -> None:
    for workload in (WORKLOAD, SECOND, OTHER):
        await local.register(workload)
    answer = await revoke(rig, service_account="reviews")
    assert answer["workloads"] == ["default/reviews-v1", "default/reviews-v2"]
    assert await states(rig) == {"reviews-v1": "revoked", "reviews-v2": "revoked", "cart-v1": "active"}
    new = dataclasses.replace(SECOND, name="reviews-v3")
    assert (await local.register(new, 403))["code"] == "identity-revoked"
    await revoke(rig, what="restore", service_account="reviews")
    await local.register(new)
    assert (await states(rig))["reviews-v3"] == "active"


async def test_who_was_removed_comes_back_by_new_proof_only(rig: Rig, local: Agent, tmp_path: Path) -> None:
    agent, _ = await remote(rig, tmp_path)
    answer = await call(rig, "DELETE", PATH)
    assert answer["workloads"] == ["default/reviews-v1"]
    assert await states(rig) == {"reviews-v1": "removed"}
    assert (await agent.register(status=403))["code"] == "trust-ended"
    assert (await local.call("POST", f"{PATH}/lease", {"state": "healthy"}, 410))["code"] == "workload-removed"
    fresh, _ = await remote(rig, tmp_path)
    await fresh.call("POST", f"{PATH}/lease", {"state": "healthy"})
    assert await states(rig) == {"reviews-v1": "active"}
    await fresh.call("DELETE", PATH, status=204)
    await fresh.call("POST", f"{PATH}/lease", {"state": "healthy"}, 404)
    await fresh.register()
    assert (await agent.register(status=403))["code"] == "trust-ended", "the old certificate stays refused"


async def test_the_revocation_list_has_the_certificates_of_whom_it_concerns(rig: Rig, local: Agent) -> None:
    async def listed() -> set[int]:
        found = await local.call("GET", "/v1/revoked")
        if not found["revoked"]:
            return set()
        return {one.serial_number for one in x509.load_pem_x509_crl(found["revoked"].encode())}

    def serial(answer: Any) -> int:
        return x509.load_pem_x509_certificates(answer["issued"]["chain"].encode())[0].serial_number

    first, second = serial(await local.register()), serial(await local.register(SECOND))
    assert (await local.call("GET", "/v1/revoked")) == {"version": "", "revoked": ""}
    await revoke(rig, workload="reviews-v1")
    assert await listed() == {first}
    told = await local.call("POST", "/v1/workloads/default/reviews-v2/requests", {"requests": []})
    assert told["revoked"] == (await local.call("GET", "/v1/revoked"))["version"] != ""
    await revoke(rig, service_account="reviews")
    assert await listed() == {first, second}
    await revoke(rig, what="restore", service_account="reviews")
    third = serial(await local.register(SECOND))
    assert await listed() == {first, second}, "what was revoked stays so, what is new is not in it"
    assert third not in await listed()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"workload": "a", "service_account": "b"}, 400, "bad-parameter"),
        ({}, 400, "bad-parameter"),
        ({"workload": "../x"}, 400, "bad-parameter"),
        ({"workload": "reviews-v11"}, 404, "no-such-identity"),
        ({"namespace": "weft-system", "service_account": "weft-control-plane"}, 403, "reserved-identity"),
        ({"workload": "a", "until": "x"}, 400, "bad-body"),
    ],
)
async def test_what_cannot_be_revoked_is_said(
    rig: Rig, local: Agent, body: dict[str, str], status: int, code: str
) -> None:
    await local.register()
    answer = await revoke(rig, status, **body)
    assert answer["code"] == code
    if code == "no-such-identity":
        assert "did you mean 'reviews-v1'?" in answer["error"]


async def test_a_certificate_is_not_issued_while_trust_ends(rig: Rig, local: Agent) -> None:
    """What is written with a certificate says that trust has not ended since it was looked up."""
    await local.register()
    write = rig.store.write
    once: list[int] = []

    async def late(changes: Any, expect: Any = None, leases: Any = None) -> int:
        if not once and any(getattr(one, "bucket", "") == "certificates" for one in changes):
            once.append(1)
            await revoke(rig, workload="reviews-v1")
        return await write(changes, expect, leases)

    rig.store.write = late  # type: ignore[method-assign]
    await local.call("POST", f"{PATH}/certificate", {"csr": new_request()[1]}, 409)
    assert await states(rig) == {"reviews-v1": "revoked"}


async def test_the_xds_server_is_told_whose_streams_end(rig: Rig, local: Agent) -> None:
    keeper = DistrustKeeper(rig.store, rig.parts.collector)
    peer = Peer("reviews-v1.default", SpiffeId("cluster.local", "default", "reviews"), 0.0)
    await local.register()
    assert keeper.refusal(peer) == ""
    await revoke(rig, workload="reviews-v1")
    await eventually("it is refused", lambda: keeper.refusal(peer))
    await revoke(rig, what="restore", workload="reviews-v1")
    await eventually("for another reason", lambda: "before" in keeper.refusal(peer) or "after" in keeper.refusal(peer))
    [one] = rig.parts.collector.snapshot.distrusted
    assert keeper.refusal(dataclasses.replace(peer, trust=Trust(one.number, 0))) == ""


async def test_a_certificate_of_before_this_was_kept_is_refused_too(rig: Rig, local: Agent, tmp_path: Path) -> None:
    await local.register()
    pem = await certificate_for(rig, WORKLOAD)
    await revoke(rig, workload="reviews-v1")
    assert (await Agent(rig, tmp_path, pem=pem).register(status=403))["code"] == "identity-revoked"
