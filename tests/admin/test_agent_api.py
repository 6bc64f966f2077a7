"""The agent API: enrolment over the socket and over TLS, and everything that must be refused and recorded."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import ssl
import time
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.control import Rig
from weft.admin import agents
from weft.ca.authority import open_authority
from weft.ca.tokens import create_token
from weft.model.enrolment import RegisterRequest
from weft.model.identity import SpiffeId
from weft.model.locality import Locality
from weft.model.workload import GatewayBinding, NodeBinding, SocketAddress, Workload, WorkloadPort, WorkloadState
from weft.sources.workloads import workload_from_value
from weft.store.protocol import StoreError

WORKLOAD = Workload(
    "reviews-v1",
    "default",
    "reviews",
    (("app", "reviews"),),
    (WorkloadPort(9080, SocketAddress("127.0.0.1", 9080), SocketAddress("127.0.0.1", 30001)),),
)


def new_request(uri: str = "", name: str = "") -> tuple[str, str]:
    """A key and a signing request, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if uri:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        builder = builder.add_extension(names, critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), pem


class Agent:
    """Calls the agent API by the socket, or over TLS with a token and a certificate."""

    def __init__(self, rig: Rig, directory: Path, *, local: bool = False, token: str = "", pem: str = "") -> None:
        self.rig, self.local, self.token = rig, local, token
        self.socket = rig.home.agent_socket
        self.tls = ssl.create_default_context(cadata=rig.parts.authority.bundle)
        if pem:
            path = directory / "client.pem"
            path.write_text(pem)
            self.tls.load_cert_chain(path)

    async def call(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        """One call over a new connection; the answer's JSON."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        connector: aiohttp.BaseConnector
        if self.local:
            connector, base = aiohttp.UnixConnector(str(self.socket)), "http://local"
        else:
            connector, base = aiohttp.TCPConnector(ssl=self.tls), f"https://{self.rig.agents}"
        data = msgspec.json.encode(body) if body is not None else b""
        async with (
            aiohttp.ClientSession(base, connector=connector) as session,
            session.request(method, path, data=data, headers=headers) as response,
        ):
            text = await response.text()
            assert response.status == status, text
            return json.loads(text) if text else None

    async def register(self, workload: Workload = WORKLOAD, status: int = 200, csr: str = "") -> Any:
        """Register `workload`."""
        return await self.call("POST", "/v1/workloads", RegisterRequest(workload, csr or new_request()[1]), status)


@pytest.fixture
def local(rig: Rig, tmp_path: Path) -> Agent:
    return Agent(rig, tmp_path, local=True)


async def certificate_for(rig: Rig, workload: Workload) -> str:
    """Key and chain of a workload, as its agent would hold them."""
    key, csr = new_request()
    identity = SpiffeId("cluster.local", workload.namespace, workload.service_account)
    return key + rig.parts.authority.issue(csr, identity, workload.proxy).chain


async def refusals(rig: Rig) -> list[str]:
    """What the audit says was refused."""
    events = [event for event in await rig.audited() if event.outcome == "refused"]
    return [event.detail.split(":")[0] for event in events]


async def test_the_certificate_says_the_service_and_revision_of_the_labels_of_the_moment(local: Agent) -> None:
    def subject(answer: Any) -> str:
        return x509.load_pem_x509_certificates(answer["chain"].encode())[0].subject.rfc4514_string()

    assert subject((await local.register())["issued"]) == "OU=latest,O=reviews,CN=reviews-v1.default"
    labels = (("app", "x"), ("app.kubernetes.io/name", "shop"), ("version", "v7"))
    again = await local.register(dataclasses.replace(WORKLOAD, labels=labels))
    assert subject(again["issued"]) == "OU=v7,O=shop,CN=reviews-v1.default"
    renewed = await local.call("POST", "/v1/workloads/default/reviews-v1/certificate", {"csr": new_request()[1]})
    assert subject(renewed) == "OU=v7,O=shop,CN=reviews-v1.default"
    bare = await local.register(dataclasses.replace(WORKLOAD, labels=()))
    assert subject(bare["issued"]) == "OU=latest,O=reviews-v1,CN=reviews-v1.default"


async def test_the_life_of_a_workload_on_the_socket(rig: Rig, local: Agent) -> None:
    answer = await local.register()
    leaf = x509.load_pem_x509_certificates(answer["issued"]["chain"].encode())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["spiffe://cluster.local/ns/default/sa/reviews"]
    assert answer["xds"] == "127.0.0.1:1"
    assert answer["lease"] == 15.0
    assert rig.parts.collector.snapshot.workloads == (WORKLOAD,), "known before the proxy connects"
    [before_again] = (await rig.store.list("workloads"))[1]
    await local.register()
    assert (await rig.store.list("workloads"))[1] == (before_again,), "registering again changes no registration"
    path = "/v1/workloads/default/reviews-v1"
    assert (await local.call("POST", f"{path}/lease", {"state": "healthy"}))["lease"] == 15.0
    stored = json.loads((await rig.store.list("workloads"))[1][0].value)
    assert stored["state"] == "healthy"
    before = dict(await rig.store.leases())
    revision = (await rig.store.list("workloads"))[0]
    await local.call("POST", f"{path}/lease", {"state": "healthy"})
    assert (await rig.store.list("workloads"))[0] == revision, "a plain renewal is no write"
    assert (await rig.store.leases())["default/reviews-v1"] > before["default/reviews-v1"]
    issued = await local.call("POST", f"{path}/certificate", {"csr": new_request()[1]})
    assert issued["not_after"] > answer["issued"]["not_before"]
    assert await local.call("POST", f"{path}/drain?wait=5") == {"confirmed": True, "pending": []}
    assert rig.parts.collector.snapshot.workloads[0].state is WorkloadState.DRAINING
    await local.call("POST", f"{path}/lease", {"state": "healthy"})
    assert json.loads((await rig.store.list("workloads"))[1][0].value)["state"] == "draining", "no way back"
    await local.call("DELETE", path, status=204)
    assert (await rig.store.list("workloads"))[1] == ()
    assert (await local.call("POST", f"{path}/lease", {"state": "healthy"}, 404))["code"] == "not-registered"


async def test_an_agent_whose_proxy_is_connected_renews_seldom(rig: Rig, local: Agent) -> None:
    path = "/v1/workloads/default/reviews-v1/lease"
    await local.register()
    for number in range(100):
        rig.parts.leases.attached(f"other-{number}.default")
    assert (await local.call("POST", path, {"state": "healthy"}))["lease"] == 15.0, "its own is not connected yet"
    rig.parts.leases.attached("reviews-v1.default")
    assert (await local.call("POST", path, {"state": "healthy"}))["lease"] > 100
    assert (await local.register())["lease"] == 15.0, "an agent that starts knows nothing of its proxy yet"
    rig.parts.leases.detached("reviews-v1.default")
    assert (await local.call("POST", path, {"state": "healthy"}))["lease"] == 15.0


async def test_a_renewal_that_comes_too_late_is_told(rig: Rig, local: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the lease ends while the renewal is under way."""
    await local.register()
    renew = rig.parts.leases.renew

    async def late(key: str) -> float | None:
        await rig.store.expire(float("inf"))
        return await renew(key)

    monkeypatch.setattr(rig.parts.leases, "renew", late)
    answer = await local.call("POST", "/v1/workloads/default/reviews-v1/lease", {"state": "starting"}, 404)
    assert answer["code"] == "not-registered"


async def test_a_registration_is_known_before_its_reply_however_long_publishing_takes(
    rig: Rig, local: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The xDS server asks the collector, not what was published last."""
    held = asyncio.Event()
    publish = rig.parts.hub.publish

    async def slow(*arguments: Any) -> None:
        await held.wait()
        await publish(*arguments)

    monkeypatch.setattr(rig.parts.hub, "publish", slow)
    await local.register()
    assert rig.parts.collector.workload("reviews-v1.default") == WORKLOAD
    held.set()


async def test_an_unused_proxy_is_a_problem_until_it_is_used(rig: Rig, local: Agent) -> None:
    await local.register()
    path = "/v1/workloads/default/reviews-v1/lease"
    for unused in (True, False):
        await local.call("POST", path, {"state": "healthy", "unused_proxy": unused})
        async with asyncio.timeout(60):
            while unused != any(problem.code == "proxy-unused" for problem in rig.parts.compiled.value.problems):
                await rig.parts.compiled.changed(rig.parts.compiled.version)


async def test_the_reply_says_which_names_are_unknown(rig: Rig, local: Agent) -> None:
    head = "apiVersion: v1\nkind: Service\nmetadata: {name: ratings}\n"
    (rig.files / "ratings.yaml").write_text(head + "spec: {ports: [{name: http, port: 9080}]}\n")
    async with asyncio.timeout(60):
        while not (mesh := rig.parts.compiled.value.mesh) or not mesh.catalog.frontends:
            await rig.parts.compiled.changed(rig.parts.compiled.version)
    assert (await local.register(dataclasses.replace(WORKLOAD, uses=("ratings",))))["problems"] == []
    (problem,) = (await local.register(dataclasses.replace(WORKLOAD, uses=("ratinsg", "ratings"))))["problems"]
    assert "it uses 'ratinsg', which is no service" in problem
    assert "did you mean 'ratings'?" in problem


async def test_joining_with_a_token_and_going_on_with_the_certificate(rig: Rig, tmp_path: Path) -> None:
    token = await create_token(rig.store, "default", "reviews")
    key, csr = new_request()
    answer = await Agent(rig, tmp_path, token=token.text).register(csr=csr)
    assert answer["xds"] == "127.0.0.1:1"
    own = Agent(rig, tmp_path, pem=key + answer["issued"]["chain"])
    path = "/v1/workloads/default/reviews-v1"
    await own.call("POST", f"{path}/lease", {"state": "healthy"})
    await own.call("POST", f"{path}/certificate", {"csr": new_request()[1]})
    await own.register()
    again = await Agent(rig, tmp_path, token=token.text).register(status=401)
    assert again["code"] == "token-refused"
    assert token.text not in json.dumps(again)
    await own.call("DELETE", path, status=204)
    assert await refusals(rig) == ["token-refused"]
    event = next(event for event in await rig.audited() if event.outcome == "refused")
    assert "token-reused" in event.detail
    assert token.text not in msgspec.json.encode(await rig.audited()).decode()


async def test_tokens_that_do_not_fit(rig: Rig, tmp_path: Path) -> None:
    other = await create_token(rig.store, "default", "ratings")
    expired = await create_token(rig.store, "default", "reviews", 1.0, clock=lambda: time.time() - 60)
    elsewhere = await create_token(rig.store, "other", "reviews")
    codes = []
    for token, status in (("", 401), ("guess", 401), (expired.text, 401), (other.text, 403), (elsewhere.text, 403)):
        codes.append((await Agent(rig, tmp_path, token=token).register(status=status))["code"])
    wanted = ["token-required", "token-refused", "token-refused", "token-for-another", "token-for-another"]
    assert codes == wanted
    assert sorted(await refusals(rig)) == sorted(wanted)
    assert (await rig.store.list("workloads"))[1] == ()


async def test_a_token_is_used_up_by_a_success_only(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = await create_token(rig.store, "default", "reviews")
    agent = Agent(rig, tmp_path, token=token.text)
    assert (await agent.register(status=403, csr="nonsense"))["code"] == "csr-malformed"
    other = dataclasses.replace(WORKLOAD, service_account="ratings")
    assert (await agent.register(other, 403))["code"] == "token-for-another"

    async def full(*_: object) -> int:
        raise StoreError("the disk is full")

    with monkeypatch.context() as context:
        context.setattr(rig.store, "write", full)
        assert (await agent.register(status=503))["code"] == "store-unavailable"
    await agent.register()


async def test_who_has_used_a_token_is_answered_also_while_the_control_plane_is_busy(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_revision: int) -> int:
        nothing: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        return await nothing

    monkeypatch.setattr(agents, "KNOWN_SECONDS", 0.0)
    monkeypatch.setattr(rig.parts.collector, "included", never)
    token = await create_token(rig.store, "default", "reviews")
    assert (await Agent(rig, tmp_path, token=token.text).register())["issued"]["chain"]


async def test_a_workload_has_its_listeners_tried_once_at_a_time(
    rig: Rig, tmp_path: Path, local: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def slow(*_: object) -> tuple[tuple[str, str], ...]:
        begun.set()
        await end.wait()
        return ()

    monkeypatch.setattr(agents, "unreachable", slow)
    other = dataclasses.replace(WORKLOAD, name="reviews-v2")
    path = "/v1/workloads/default/{}/reach"
    calls = []
    for one in (WORKLOAD, other):
        await local.register(one)
        agent = Agent(rig, tmp_path, pem=await certificate_for(rig, one))
        begun.clear()
        calls.append(asyncio.create_task(agent.call("POST", path.format(one.name))))
        await begun.wait()
        assert (await agent.call("POST", path.format(one.name), status=429))["code"] == "busy"
    end.set()
    await asyncio.gather(*calls)


async def test_a_token_lets_one_of_many_in(rig: Rig, tmp_path: Path) -> None:
    token = await create_token(rig.store, "default", "reviews")

    async def attempt(number: int) -> bool:
        agent = Agent(rig, tmp_path, token=token.text)
        try:
            await agent.register(dataclasses.replace(WORKLOAD, name=f"w{number}"))
        except AssertionError:
            return False
        return True

    assert sum(await asyncio.gather(*(attempt(number) for number in range(8)))) == 1
    assert len((await rig.store.list("workloads"))[1]) == 1


async def test_a_certificate_acts_for_its_own_workload_only(rig: Rig, tmp_path: Path, local: Agent) -> None:
    sibling = dataclasses.replace(WORKLOAD, name="reviews-v2")
    await local.register()
    await local.register(sibling)
    agent = Agent(rig, tmp_path, pem=await certificate_for(rig, WORKLOAD))
    path = "/v1/workloads/default/reviews-v2"
    for method, tail, body in (
        ("POST", "/lease", {"state": "draining"}),
        ("POST", "/certificate", {"csr": new_request()[1]}),
        ("POST", "/drain", None),
        ("DELETE", "", None),
    ):
        assert (await agent.call(method, path + tail, body, 403))["code"] == "not-your-workload"
    assert (await agent.register(sibling, 403))["code"] == "not-your-workload"
    promoted = dataclasses.replace(WORKLOAD, service_account="admin")
    assert (await agent.register(promoted, 403))["code"] == "not-your-workload"
    assert (await agent.call("POST", "/v1/workloads/other/reviews-v1/lease", {"state": "healthy"}, 403))["code"]
    assert set(await refusals(rig)) == {"not-your-workload"}
    assert len(await refusals(rig)) == 7
    assert {one.state for one in rig.parts.collector.snapshot.workloads} == {WorkloadState.STARTING}


async def test_a_name_changes_hands_only_when_its_lease_is_over(
    rig: Rig, tmp_path: Path, local: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    await local.register()
    thief = dataclasses.replace(WORKLOAD, service_account="thief")
    assert (await local.register(thief, 409))["code"] == "name-taken"
    token = await create_token(rig.store, "default", "thief")
    assert (await Agent(rig, tmp_path, token=token.text).register(thief, 409))["code"] == "name-taken"
    old = Agent(rig, tmp_path, pem=await certificate_for(rig, WORKLOAD))
    await rig.store.extend({"default/reviews-v1": 1.0})
    assert (await local.register(thief, 409))["code"] == "name-taken", "its agent could not renew before the start"
    monkeypatch.setattr(rig.parts.leases, "_awake", 0.0)
    await local.register(thief)
    body = {"state": "healthy"}
    assert (await old.call("POST", "/v1/workloads/default/reviews-v1/lease", body, 403))["code"] == "not-your-workload"


async def test_a_token_takes_no_name_from_a_workload_that_is_there(rig: Rig, tmp_path: Path, local: Agent) -> None:
    """Nor is it used up by the attempt: it still admits the workload under a name of its own."""
    await local.register()
    await local.call("POST", "/v1/workloads/default/reviews-v1/lease", {"state": "healthy"})
    token = await create_token(rig.store, "default", "reviews")
    joining = Agent(rig, tmp_path, token=token.text)
    assert (await joining.register(status=409))["code"] == "name-taken"
    (entry,) = (await rig.store.list("workloads"))[1]
    assert workload_from_value(entry.value).state is WorkloadState.HEALTHY
    await joining.register(dataclasses.replace(WORKLOAD, name="reviews-v2"))
    assert (await joining.register(dataclasses.replace(WORKLOAD, name="reviews-v3"), 401))["code"] == "token-refused"


async def test_no_certificate_no_act(rig: Rig, tmp_path: Path, local: Agent) -> None:
    await local.register()
    token = await create_token(rig.store, "default", "reviews")
    agent = Agent(rig, tmp_path, token=token.text)
    path = "/v1/workloads/default/reviews-v1"
    for tail in ("/lease", "/certificate", "/drain"):
        body = {"state": "healthy"} if tail == "/lease" else {"csr": ""}
        assert (await agent.call("POST", path + tail, body, 401))["code"] == "certificate-required"
    assert (await agent.call("DELETE", path, None, 401))["code"] == "certificate-required"


async def test_certificates_of_others_end_the_handshake(rig: Rig, tmp_path: Path) -> None:
    stranger = open_authority(tmp_path / "other-ca")
    key, csr = new_request()
    issued = stranger.issue(csr, SpiffeId("cluster.local", "default", "reviews"), WORKLOAD.proxy)
    agent = Agent(rig, tmp_path, pem=key + issued.chain)
    with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
        await agent.call("POST", "/v1/workloads/default/reviews-v1/lease", {"state": "healthy"})


async def test_tls_1_3_only(rig: Rig, tmp_path: Path) -> None:
    agent = Agent(rig, tmp_path)
    agent.tls.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
        await agent.call("GET", "/v1/trust-bundle")


async def test_the_trust_bundle_is_for_everyone(rig: Rig) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://{rig.agents}/v1/trust-bundle", ssl=context) as response,
    ):
        assert await response.text() == rig.parts.authority.bundle


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("spiffe://cluster.local/ns/default/sa/admin", ""),
        ("spiffe://other.example/ns/default/sa/reviews", ""),
        ("", "productpage-v1.default"),
    ],
)
async def test_a_request_for_another_name_is_refused(rig: Rig, local: Agent, uri: str, name: str) -> None:
    answer = await local.register(status=403, csr=new_request(uri, name)[1])
    assert answer["code"].startswith("csr-")
    assert await refusals(rig) == [answer["code"]]
    assert (await rig.store.list("workloads"))[1] == ()


async def test_the_control_planes_own_identity_is_taken(rig: Rig, tmp_path: Path, local: Agent) -> None:
    impostor = dataclasses.replace(WORKLOAD, namespace="weft-system", service_account="weft-control-plane")
    assert (await local.register(impostor, 403))["code"] == "reserved-identity"
    token = await create_token(rig.store, "weft-system", "weft-control-plane")
    assert (await Agent(rig, tmp_path, token=token.text).register(impostor, 403))["code"] == "reserved-identity"


async def test_a_remote_workload_does_not_become_a_gateway(rig: Rig, tmp_path: Path) -> None:
    binding = GatewayBinding("public", "127.0.0.1")
    token = await create_token(rig.store, "default", "reviews")
    wanting = dataclasses.replace(WORKLOAD, gateway=binding)
    answer = await Agent(rig, tmp_path, token=token.text).register(wanting, 403)
    assert answer["code"] == "not-the-gateways-account"
    token = await create_token(rig.store, "default", "public")
    rightful = dataclasses.replace(wanting, service_account="public")
    await Agent(rig, tmp_path, token=token.text).register(rightful)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Bad_Name"},
        {"name": "x" * 64},
        {"namespace": "../etc"},
        {"service_account": "a/b"},
        {"labels": (("b", "1"), ("a", "2"))},
        {"labels": (("a", "x y"),)},
        {"metrics": SocketAddress("evil.example", 15020)},
        {"metrics": SocketAddress("127.0.0.1", 0)},
        {"ports": (WorkloadPort(0, SocketAddress("127.0.0.1", 1), SocketAddress("127.0.0.1", 1)),)},
        {"ports": (WorkloadPort(1, SocketAddress("evil.example", 1), SocketAddress("127.0.0.1", 1)),)},
        {"ports": (WorkloadPort(1, SocketAddress("127.0.0.1", 1), SocketAddress("127.0.0.1", 1), "a b"),)},
        {"ports": (WorkloadPort(1, SocketAddress("127.0.0.1", 1), SocketAddress("127.0.0.1", 1), "80"),)},
        {
            "ports": tuple(
                WorkloadPort(number, SocketAddress("127.0.0.1", 1), SocketAddress("127.0.0.1", 1), "same")
                for number in (1, 2)
            )
        },
        {"ports": WORKLOAD.ports * 2},
        {"ports": WORKLOAD.ports * 100},
        {"capture": (SocketAddress("evil.example", 15001),)},
        {"inbound_capture": (SocketAddress("10.0.0.5", 15006),)},
        {"inbound_capture": (SocketAddress("0.0.0.0", 0),)},
        {"uses": ("a b",)},
        {"locality": Locality("eu/x")},
        {"locality": Locality("", "a")},
        {"gateway": GatewayBinding("x/y", "127.0.0.1")},
        {"carrier": "../host"},
        {"carrier": "host.default", "dns": True},
        {"carrier": "host.default", "capture": (SocketAddress("127.0.0.1", 15001),)},
        {"carrier": "host.default", "node": NodeBinding()},
        {"node": NodeBinding(("a",)), "ports": ()},
        {"node": NodeBinding()},
    ],
)
async def test_what_a_registration_may_not_say(rig: Rig, local: Agent, change: dict[str, Any]) -> None:
    answer = await local.register(dataclasses.replace(WORKLOAD, **change), 400)
    assert answer["code"] == "bad-workload"
    assert next(iter(change)) in answer["error"]
    assert (await rig.store.list("workloads"))[1] == ()


async def test_bad_bodies(rig: Rig, local: Agent) -> None:
    wrong: tuple[object, ...] = ({}, {"workload": 1, "csr": ""}, [])
    for body in wrong:
        assert (await local.call("POST", "/v1/workloads", body, 400))["code"] == "bad-body"
    assert (await local.register(csr="nonsense", status=403))["code"] == "csr-malformed"
    await local.register()
    path = "/v1/workloads/default/reviews-v1"
    assert (await local.call("POST", f"{path}/lease", {"state": "gone"}, 400))["code"] == "bad-body"
    assert (await local.call("POST", "/v1/workloads", "x" * 300_000, 413))["code"] == "too-large"
    assert (await local.call("POST", f"{path}/drain?wait=1e9", None, 400))["code"] == "bad-parameter"
