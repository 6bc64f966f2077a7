"""The certificate authority through the admin API."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.test_authority import Outside, key_pem, new_key, pem
from support.control import Rig
from weft.ca.rotation import Phase, advance
from weft.store.protocol import StoreError


async def call(rig: Rig, method: str, path: str, body: object = None) -> tuple[int, Any]:
    async with rig.session() as session, session.request(method, f"/v1/ca{path}", json=body) as response:
        return response.status, await response.json()


async def test_its_state_is_told_at_every_step(rig: Rig) -> None:
    authority = rig.parts.authority
    status, found = await call(rig, "GET", "")
    assert status == 200
    assert (found["phase"], found["since"], found["awaited"], found["abortable"]) == ("steady", None, [], False)
    assert found["fingerprint"] == authority.fingerprint
    [root] = found["roots"]
    assert (root["generation"], root["signs"], root["trusted"], root["made_by_weft"]) == (1, True, True, True)
    assert root["not_after"].endswith("Z")
    status, found = await call(rig, "POST", "/rotate", {"overlap": 60})
    assert status == 200
    assert (found["phase"], found["abortable"]) == ("trusting", True)
    assert [(one["generation"], one["trusted"], one["signs"]) for one in found["roots"]] == [
        (1, True, True),
        (2, True, False),
    ]
    assert found["waits_no_longer_than"] > found["since"]
    authority.move(advance(authority.rotation, authority.rotation.since, confirmed=True))
    _, found = await call(rig, "GET", "")
    assert found["phase"] == "issuing"
    assert found["both_trusted_until"] > found["since"]
    authority.move(advance(authority.rotation, authority.rotation.gives_up, confirmed=True))
    status, found = await call(rig, "POST", "/abort")
    assert (status, found["code"]) == (409, "nothing-to-abort")
    assert "dropped already" in found["error"]
    [done] = [event for event in await rig.audited() if event.action == "rotate root"]
    assert (done.who, done.object) == ("admin token", "certificate authority")


async def test_a_rotation_is_taken_back_and_a_second_one_refused(rig: Rig) -> None:
    await call(rig, "POST", "/rotate", {})
    status, found = await call(rig, "POST", "/rotate", {})
    assert (status, found["code"]) == (409, "rotation-under-way")
    status, found = await call(rig, "POST", "/abort")
    assert status == 200
    assert (found["phase"], found["returning"]) == ("dropping", True)


@pytest.mark.parametrize("body", [{"overlap": -1}, {"overlap": 1e9}, {"overlap": "long"}, {"surprise": 1}])
async def test_what_cannot_be_asked_for_is_refused(rig: Rig, body: object) -> None:
    status, _ = await call(rig, "POST", "/rotate", body)
    assert status == 400
    assert rig.parts.authority.rotation.phase is Phase.STEADY


async def test_an_offline_root_is_asked_and_its_answer_rotated_to(rig: Rig) -> None:
    outside, authority = Outside(1, new_key()), rig.parts.authority
    body = {"chain": "x", "chain_name": "chain.pem"}
    status, found = await call(rig, "POST", "/install", body)
    assert (status, found["code"]) == (400, "certificate-unusable")
    assert "there is no key for this certificate: weft ca csr" in found["error"]
    _, found = await call(rig, "POST", "/csr")
    chain = outside.sign(found["csr"])
    status, found = await call(rig, "POST", "/install", {"chain": chain.text, "chain_name": "chain.pem"})
    assert status == 400
    assert found["error"].startswith("chain.pem: its last certificate")
    status, found = await call(rig, "POST", "/install", {"chain": chain.text, "roots": outside.root.text})
    assert (status, found["phase"]) == (200, "trusting")
    assert [one["made_by_weft"] for one in found["roots"]] == [True, False]
    while authority.rotation.phase is not Phase.STEADY:
        authority.move(advance(authority.rotation, authority.rotation.gives_up, confirmed=True))
    status, found = await call(rig, "POST", "/rotate", {})
    assert (status, found["code"]) == (409, "root-not-ours")
    assert "weft ca csr" in found["error"]


async def test_no_key_is_in_an_answer_or_the_audit(rig: Rig) -> None:
    outside, key = Outside(1, new_key()), new_key()
    issuer = outside.certify(outside.name, key)
    body = {"chain": pem("x", issuer).text, "roots": outside.root.text, "key": key_pem(key).text}
    status, found = await call(rig, "POST", "/install", body)
    assert status == 200
    assert "PRIVATE" not in str(found)
    _, found = await call(rig, "POST", "/csr")
    assert "PRIVATE" not in str(found)
    assert "PRIVATE" not in str(await rig.audited())
    status, _ = await call(rig, "DELETE", "/csr")
    assert status == 200
    assert rig.parts.authority.slots.request_key() is None


async def test_a_full_disk_changes_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "no space left on device")

    before = rig.parts.authority.bundle
    with monkeypatch.context() as patch:
        patch.setattr("weft.settings.private.os.open", full)
        status, found = await call(rig, "POST", "/rotate", {})
    assert (status, found["code"]) == (503, "ca-unwritable")
    assert (rig.parts.authority.bundle, rig.parts.authority.rotation.phase) == (before, Phase.STEADY)


async def test_the_bundle_that_everybody_may_have_names_former_roots_apart(rig: Rig) -> None:
    authority = rig.parts.authority
    authority.begin_rotation()
    while authority.rotation.phase is not Phase.STEADY:
        authority.move(advance(authority.rotation, authority.rotation.gives_up, confirmed=True))
    async with (
        rig.session() as session,
        session.get(f"https://{rig.agents}/v1/trust-bundle", ssl=False) as response,
    ):
        text = await response.text()
    trusted, _, former = text.partition("# former roots")
    assert trusted == authority.bundle
    assert former.count("BEGIN CERTIFICATE") == 1


@pytest.mark.parametrize("path", ["/rotate", "/abort", "/csr", "/install"])
async def test_nothing_is_done_that_cannot_be_recorded(rig: Rig, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outside, key = Outside(1, new_key()), new_key()
    if path == "/abort":
        await call(rig, "POST", "/rotate", {})
    before, rotation = rig.parts.authority.bundle, rig.parts.authority.rotation
    body = {"chain": pem("x", outside.certify(outside.name, key)).text, "roots": outside.root.text}
    write = rig.store.write

    async def fails(changes: Any, *more: Any) -> int:
        if any("audit" in one.bucket for one in changes):
            raise StoreError("the disk is full")
        return await write(changes, *more)

    monkeypatch.setattr(rig.store, "write", fails)
    sent = body | {"key": key_pem(key).text} if path == "/install" else {}
    status, _ = await call(rig, "POST", path, sent)
    assert status >= 500
    assert (rig.parts.authority.bundle, rig.parts.authority.rotation) == (before, rotation)
    assert rig.parts.authority.slots.request_key() is None


async def test_the_audit_says_what_was_before_and_what_comes(rig: Rig) -> None:
    outside, key, before = Outside(1, new_key()), new_key(), rig.parts.authority.fingerprint
    body = {"chain": pem("x", outside.certify(outside.name, key)).text, "roots": outside.root.text}
    status, _ = await call(rig, "POST", "/install", body | {"key": key_pem(key).text})
    assert status == 200
    [done] = [event for event in await rig.audited() if event.action == "install root"]
    assert done.detail.startswith(f"before: steady, {before}; after: sha256:")
