"""Roots on disk while they are rotated: what is issued and trusted, also after a crash at any moment."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from weft.agent.keys import make_key
from weft.ca.authority import Authority, open_authority
from weft.ca.protocol import AuthorityError
from weft.ca.rotation import Phase, advance
from weft.model.identity import SpiffeId

NOW = 1_800_000_000.0
WEB = SpiffeId("cluster.local", "default", "web")


def authority_in(path: Path, now: float = NOW) -> Authority:
    return open_authority(path / "ca", clock=lambda: now)


def step(authority: Authority) -> Phase:
    authority.move(advance(authority.rotation, NOW, confirmed=True))
    return authority.rotation.phase


def accepted(tmp_path: Path, chain: str, bundle: str) -> bool:
    """Whether openssl, with these roots, takes the leaf for a TLS client and server."""
    (tmp_path / "bundle.pem").write_text(bundle)
    (tmp_path / "chain.pem").write_text(chain)
    command = ["openssl", "verify", "-x509_strict", "-attime", str(int(NOW)), "-CAfile", "bundle.pem"]
    command += ["-untrusted", "chain.pem"]
    return all(
        subprocess.run([*command, "-purpose", each, "chain.pem"], cwd=tmp_path, capture_output=True, check=False)
        .returncode == 0
        for each in ("sslclient", "sslserver")
    )  # fmt: skip


def leaf(authority: Authority) -> str:
    return authority.issue(make_key().csr, WEB, "web.default").chain


def test_in_every_phase_everybody_who_did_the_step_before_accepts_everybody(tmp_path: Path) -> None:
    authority = authority_in(tmp_path)
    bundles, leaves, servers, phases = [], [], [], []
    authority.begin_rotation()
    for _ in range(4):
        phases.append(authority.rotation.phase)
        bundles.append(authority.bundle)
        leaves.append(leaf(authority))
        servers.append(authority.server_certificate(()).chain)
        step(authority)
    assert phases == [Phase.TRUSTING, Phase.ISSUING, Phase.DROPPING, Phase.STEADY]
    for before, after in ((0, 1), (1, 2), (2, 3)):
        for one, other in ((before, after), (after, before)):
            assert accepted(tmp_path, leaves[one], bundles[other]), (one, other)
            later = (one, other) == (1, 2)  # that bundle comes from the server that shows the next certificate
            assert later or accepted(tmp_path, servers[one], bundles[other]), (one, other)
    old = bundles[0].split("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n"
    assert accepted(tmp_path, leaves[1], old), "by the link, who slept through the first step takes part in the second"
    assert not accepted(tmp_path, leaves[0], bundles[3])
    assert not accepted(tmp_path, leaves[3], old)
    assert accepted(tmp_path, servers[3], old), "a fingerprint of the former root still leads to the control plane"
    assert old in authority.public_roots
    assert old not in authority.bundle


def test_links_lead_back_over_several_rotations_and_end_with_their_roots(tmp_path: Path) -> None:
    authority = authority_in(tmp_path)
    first = authority.bundle
    for _ in range(3):
        authority.begin_rotation()
        while step(authority) is not Phase.STEADY:
            pass
    assert authority.public_roots.count("BEGIN CERTIFICATE") == 4
    assert accepted(tmp_path, authority.server_certificate(()).chain, first)
    again = authority_in(tmp_path)
    assert again.public_roots == authority.public_roots
    assert (again.rotation.target, again.rotation.epoch) == (4, 3)
    names = sorted(path.name for path in (tmp_path / "ca").iterdir())
    assert names == ["intermediate-4.pem", "root-4.pem", "rotation.json"]


@pytest.mark.parametrize("issuing", [False, True])
def test_an_aborted_rotation_leaves_the_old_root_and_nothing_else(tmp_path: Path, issuing: bool) -> None:
    authority = authority_in(tmp_path)
    before, fingerprint = authority.bundle, authority.fingerprint
    authority.begin_rotation()
    if issuing:
        step(authority)
    authority.abort_rotation()
    assert accepted(tmp_path, leaf(authority), before)
    while step(authority) is not Phase.STEADY:
        pass
    assert (authority.bundle, authority.fingerprint) == (before, fingerprint)
    assert authority.public_roots == before
    assert authority_in(tmp_path).bundle == before
    authority.begin_rotation()
    assert step(authority) is Phase.ISSUING


class Crash(BaseException):
    """As if the process had been killed."""


@pytest.mark.parametrize("operation", ["open", "fsync", "replace", "unlink"])
@pytest.mark.parametrize("survived", range(6))
@pytest.mark.parametrize("steps", range(4))
def test_a_crash_at_any_moment_leaves_the_state_before_or_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, survived: int, steps: int
) -> None:
    authority = authority_in(tmp_path)
    known = [authority.bundle]
    if steps:
        authority.begin_rotation()
    for _ in range(steps - 1):
        step(authority)
    known.append(authority.bundle)
    calls = 0
    owner = {"open": os, "fsync": os, "replace": Path, "unlink": Path}[operation]
    real = getattr(owner, operation)

    def crashing(*arguments: object, **keywords: object) -> object:
        nonlocal calls
        calls += 1
        if calls > survived:
            raise Crash
        return real(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(owner, operation, crashing)
        if operation != "unlink":
            patch.setattr(Path, "unlink", lambda *_, **__: None)
        with contextlib.suppress(Crash):
            if steps:
                step(authority)
            else:
                authority.begin_rotation()
            known.append(authority.bundle)
    again = authority_in(tmp_path)
    assert accepted(tmp_path, leaf(again), again.bundle)
    if again.rotation.phase is Phase.STEADY and again.rotation.epoch == 0:
        again.begin_rotation()
    while again.rotation.phase is not Phase.STEADY:
        step(again)
    names = sorted(path.name for path in (tmp_path / "ca").iterdir())
    assert names == ["intermediate-2.pem", "root-2.pem", "rotation.json"]


def test_what_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    authority = authority_in(tmp_path)
    authority.begin_rotation()
    (tmp_path / "ca" / "root-2.pem").unlink()
    with pytest.raises(AuthorityError, match="no root of generation 2"):
        authority_in(tmp_path)
    (tmp_path / "ca" / "rotation.json").write_text('{"phase": "tired"}')
    with pytest.raises(AuthorityError, match=r"rotation\.json is damaged"):
        authority_in(tmp_path)
    (tmp_path / "ca" / "rotation.json").chmod(0o644)
    with pytest.raises(AuthorityError, match="chmod 600"):
        authority_in(tmp_path)


def test_the_intermediate_of_the_new_root_is_replaced_at_half_its_life_as_well(tmp_path: Path) -> None:
    authority = authority_in(tmp_path)
    authority.begin_rotation()
    while step(authority) is not Phase.STEADY:
        pass
    later = authority_in(tmp_path, NOW + 200 * 86400)
    fresh = x509.load_pem_x509_certificates(leaf(later).encode())[1]
    assert fresh.not_valid_before_utc.timestamp() > NOW + 199 * 86400
    assert later.bundle == authority.bundle
