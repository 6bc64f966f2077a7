"""The mesh's intermediate signed by a signer of the cluster, and by cert-manager's requests, at a real API server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from tools.kubernetes_cluster import ApiCluster

from support.kubernetes import Api, definition
from weft.ca.authority import open_authority
from weft.ca.certificates import certificate_pem, new_key
from weft.ca.protocol import AuthorityError, AuthorityUnavailableError
from weft.ca.upstream import first_from, renew_from
from weft.controlplane.cluster_authority import ClusterAuthority, ClusterAuthoritySettings, RootsPlace
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.kubeconfig import KubeconfigFile
from weft.testing.polling import eventually

DOMAIN = "cluster.local"
SIGNER = "example.com/mesh"
LIFE = 30 * 86400.0
_CSR = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
_CERT_MANAGER = "/apis/cert-manager.io/v1/namespaces/default/certificaterequests"
_OWN = ["create", "get", "delete"]
_DAY = datetime.timedelta(days=1)


class Signer:
    """A controller as administrators run one: it signs what is approved, as an authority of its own."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._key = new_key()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the cluster's root")])
        self.root = self._signed(name, name, self._key.public_key(), LIFE * 10)
        self.says: dict[str, Any] = {}
        """Conditions instead of a certificate."""

    def _signed(
        self, subject: x509.Name, issuer: x509.Name, key: Any, life: float, names: Any = None
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        length = 1 if names is None else 0
        usage = dict.fromkeys(
            (
                "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
                "decipher_only",
            ),
            False,
        )  # fmt: skip
        builder = (
            x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now if names is not None else now - _DAY)  # of what it signs, as cert-manager does
            .not_valid_after(now + datetime.timedelta(seconds=life))
            .add_extension(x509.BasicConstraints(ca=True, path_length=length), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), True)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def signed(self, request: str, life: float) -> str:
        """What a PEM request asks for, and its names, as base64 of PEM."""
        csr = x509.load_pem_x509_csr(base64.b64decode(request))
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        leaf = self._signed(csr.subject, self.root.subject, csr.public_key(), life, names)
        return base64.b64encode(certificate_pem(leaf).encode()).decode()

    async def run(self, path: str) -> None:
        """Sign for ever what is approved at `path`: of cert-manager's own, all."""
        while True:
            for item in (await self._api.call("GET", path))["items"]:
                conditions = [one["type"] for one in item.get("status", {}).get("conditions", ())]
                waits = not item.get("status", {}).get("certificate") and not self.says.keys() & set(conditions)
                if waits and (path is _CERT_MANAGER or "Approved" in conditions):
                    await self._answer(path, item)
            await asyncio.sleep(0.05)

    async def _answer(self, path: str, item: dict[str, Any]) -> None:
        status = item.setdefault("status", {})
        if self.says:
            kind = next(iter(self.says))
            said = {"type": kind, "status": "True", "reason": self.says[kind], "message": "not today"}
            status["conditions"] = [*status.get("conditions", ()), said]
        elif not _usages_agree(item["spec"]):
            failed = {"type": "Failed", "status": "True", "reason": "Failed", "message": "the KeyUsages do not match"}
            failed |= {"type": "Ready", "status": "False"} if path is _CERT_MANAGER else {}
            status["conditions"] = [*status.get("conditions", ()), failed]
        else:
            life = item["spec"].get("expirationSeconds") or float(item["spec"]["duration"].removesuffix("s"))
            status["certificate"] = self.signed(item["spec"]["request"], float(life))
        await self._api.call("PUT", f"{path}/{item['metadata']['name']}/status", item)


def _usages_agree(spec: dict[str, Any]) -> bool:
    """Whether a request asks for the key usages that its PEM asks for, on which cert-manager insists."""
    csr = x509.load_pem_x509_csr(base64.b64decode(spec["request"]))
    usage = csr.extensions.get_extension_for_class(x509.KeyUsage).value
    asked = {"cert sign": usage.key_cert_sign, "crl sign": usage.crl_sign, "digital signature": usage.digital_signature}
    return {name for name, wanted in asked.items() if wanted} == set(spec["usages"])


@pytest.fixture
async def signer(api: Api) -> Signer:
    signer = Signer(api)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "roots", "namespace": "default"}}
    data = {"ca.crt": certificate_pem(signer.root)}
    await api.apply("/api/v1/namespaces/default/configmaps/roots", body | {"data": data})
    return signer


@asynccontextmanager
async def signing(signer: Signer, path: str) -> AsyncIterator[None]:
    task = asyncio.create_task(signer.run(path))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


ROOTS = RootsPlace("roots", "default")
BY_SIGNER = ClusterAuthoritySettings(ROOTS, signer=SIGNER)
BY_ISSUER = ClusterAuthoritySettings(ROOTS, issuer="ClusterIssuer/mesh", namespace="default")


def asked(kubeconfig: Path, settings: ClusterAuthoritySettings, patience: float = 60.0) -> ClusterAuthority:
    return ClusterAuthority(settings, Credentials(KubeconfigFile(str(kubeconfig)).access), patience)


async def asked_for(api: Api, path: str) -> dict[str, Any]:
    """The request, as soon as there is one."""

    async def found() -> list[dict[str, Any]]:
        return list((await api.call("GET", path))["items"])

    first: dict[str, Any] = (await eventually("it is asked for", found))[0]
    return first


@pytest.fixture
async def cert_manager(cluster: ApiCluster, api: Api) -> str:
    """Its kind of requests; the controller is the test's."""
    crd = definition("cert-manager.io", "CertificateRequest", "certificaterequests", "v1", status=True)
    cluster.kubectl("apply", "-f", "-", given=crd)
    cluster.kubectl("wait", "--for=condition=Established", "crd", crd["metadata"]["name"], "--timeout=60s")
    await eventually("its kind is served", lambda: api.call("GET", _CERT_MANAGER))
    return _CERT_MANAGER


async def test_a_signer_signs_the_intermediate_and_what_comes_after(
    cluster: ApiCluster, api: Api, signer: Signer, tmp_path: Path
) -> None:
    authority = asked(cluster.kubeconfig("admin"), BY_SIGNER)
    directory = tmp_path / "ca"
    async with signing(signer, _CSR):
        await first_from(authority, directory, DOMAIN, LIFE)
        mesh = open_authority(directory, DOMAIN)
        assert list(mesh.roots) == [signer.root]
        assert not await renew_from(authority, mesh, LIFE)
    assert not (await api.call("GET", _CSR))["items"]


async def test_cert_manager_signs_the_intermediate(
    cluster: ApiCluster, api: Api, signer: Signer, cert_manager: str, tmp_path: Path
) -> None:
    authority = asked(cluster.kubeconfig("admin"), BY_ISSUER)
    async with signing(signer, cert_manager):
        await first_from(authority, tmp_path / "ca", DOMAIN, LIFE)
    assert list(open_authority(tmp_path / "ca", DOMAIN).roots) == [signer.root]
    assert not (await api.call("GET", cert_manager))["items"]


@pytest.mark.parametrize(("settings", "path"), [(BY_SIGNER, _CSR), (BY_ISSUER, _CERT_MANAGER)])
async def test_a_refusal_is_told_in_the_signers_words(
    cluster: ApiCluster,
    signer: Signer,
    cert_manager: str,
    tmp_path: Path,
    settings: ClusterAuthoritySettings,
    path: str,
) -> None:
    assert cert_manager
    signer.says = {"Failed": "NotAllowed"} if path is _CSR else {"InvalidRequest": "NotAllowed"}
    async with signing(signer, path):
        with pytest.raises(AuthorityError, match="not today"):
            await first_from(asked(cluster.kubeconfig("admin"), settings), tmp_path / "ca", DOMAIN, LIFE)


async def test_the_words_of_who_denies_come_first(
    cluster: ApiCluster, api: Api, signer: Signer, cert_manager: str, tmp_path: Path
) -> None:
    """Beside them cert-manager says that it was denied, and no more."""
    assert signer.root

    async def deny() -> None:
        found = await asked_for(api, cert_manager)
        ready = {"type": "Ready", "status": "False", "reason": "Denied", "message": "denied by a controller"}
        denied = {"type": "Denied", "status": "True", "reason": "Policy", "message": "no authorities on Fridays"}
        body = {**found, "status": {"conditions": [ready, denied]}}
        await api.call("PUT", f"{cert_manager}/{found['metadata']['name']}/status", body)

    with pytest.raises(ExceptionGroup) as told:
        async with asyncio.TaskGroup() as group:
            group.create_task(deny())
            await first_from(asked(cluster.kubeconfig("admin"), BY_ISSUER), tmp_path / "ca", DOMAIN, LIFE)
    assert "ClusterIssuer/mesh: Denied: no authorities on Fridays" in str(told.value.exceptions[0])


async def test_what_it_waits_for_is_told(
    cluster: ApiCluster,
    api: Api,
    signer: Signer,
    cert_manager: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    authority = asked(cluster.kubeconfig("admin"), BY_ISSUER)
    first = asyncio.create_task(first_from(authority, tmp_path / "ca", DOMAIN, LIFE))
    found = await asked_for(api, cert_manager)
    await eventually("it is told that nobody approves", lambda: "yet: nobody has approved it" in caplog.text)
    pending = {"type": "Ready", "status": "False", "reason": "Pending", "message": "Issuer not found"}
    path = f"{cert_manager}/{found['metadata']['name']}/status"
    await api.call("PUT", path, {**found, "status": {"conditions": [pending]}})
    await eventually("and what else is missing", lambda: "yet: Ready: Issuer not found" in caplog.text)
    async with signing(signer, cert_manager):
        await first
    impatient = asked(cluster.kubeconfig("admin"), BY_ISSUER, 0)
    with pytest.raises(AuthorityUnavailableError, match="has not signed in 0 s: nobody has approved it"):
        await first_from(impatient, tmp_path / "other", DOMAIN, LIFE)


async def test_no_cert_manager_is_told(cluster: ApiCluster, signer: Signer, tmp_path: Path) -> None:
    assert signer.root
    elsewhere = ClusterAuthoritySettings(ROOTS, issuer="Issuer/mesh", namespace="nowhere")
    with pytest.raises(AuthorityError, match="expected cert-manager in the cluster, and the namespace nowhere"):
        await first_from(asked(cluster.kubeconfig("admin"), elsewhere), tmp_path / "ca", DOMAIN, LIFE)


async def test_who_may_not_approve_waits_for_somebody_else(
    cluster: ApiCluster, api: Api, signer: Signer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = [
        {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"], "verbs": _OWN},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
    ]
    authority = asked(cluster.account("asks", rules), BY_SIGNER)

    async def approve() -> None:
        name = (await asked_for(api, _CSR))["metadata"]["name"]
        await asyncio.to_thread(cluster.kubectl, "certificate", "approve", name)

    async with signing(signer, _CSR), asyncio.TaskGroup() as group:
        group.create_task(approve())
        await first_from(authority, tmp_path / "ca", DOMAIN, LIFE)
    assert "run: kubectl certificate approve weft-issuer-" in caplog.text


async def test_nobody_signs_and_nobody_answers(cluster: ApiCluster, signer: Signer, tmp_path: Path) -> None:
    assert signer.root
    admin = cluster.kubeconfig("admin")
    with pytest.raises(AuthorityUnavailableError, match="has not signed in 0 s"):
        await first_from(asked(admin, BY_SIGNER, 0), tmp_path / "a", DOMAIN, LIFE)
    with pytest.raises(AuthorityError, match="cannot be asked: it answers 404"):
        missing = ClusterAuthoritySettings(RootsPlace("nothing", "default"), signer=SIGNER)
        await asked(admin, missing).roots()
    with pytest.raises(AuthorityError, match=r"configmap/default/roots/other holds no certificates"):
        other = ClusterAuthoritySettings(RootsPlace("roots", "default", "other"), signer=SIGNER)
        await asked(admin, other).roots()
    nobody = cluster.account("nobody", [])
    with pytest.raises(AuthorityError, match="cannot be asked: it answers 403"):
        await first_from(asked(nobody, BY_SIGNER), tmp_path / "b", DOMAIN, LIFE)


async def test_another_root_than_the_administrators_is_refused(
    cluster: ApiCluster, api: Api, signer: Signer, tmp_path: Path
) -> None:
    """Who signs cannot make the mesh trust another root."""
    other = Signer(api)
    assert json.dumps(certificate_pem(signer.root)) != json.dumps(certificate_pem(other.root))
    async with signing(other, _CSR):
        with pytest.raises(AuthorityError):
            await first_from(asked(cluster.kubeconfig("admin"), BY_SIGNER), tmp_path / "ca", DOMAIN, LIFE)
