"""Imports beside their conformance suite: words of settings, what registries say of instances, who is believed."""

from __future__ import annotations

import asyncio
import functools
import json
from pathlib import Path

import pytest

from support.imported import QUICK, has, instances, reached, running
from support.registries import Given, elsewhere, small_server
from weft.aio.cell import Cell
from weft.model.snapshot import MeshSettings
from weft.schema.decode import decode_documents
from weft.schema.kinds.workloadentry import WorkloadEntrySpec
from weft.sources.collector import Collector
from weft.sources.contents import Contents
from weft.sources.imports import documents
from weft.sources.imports.catalogue import ImportedService, Instance
from weft.sources.imports.documents import DocumentBuilder, object_name
from weft.sources.imports.settings import (
    Called,
    ImportSettingsError,
    check_names,
    import_from_text,
    imports_from_file,
)
from weft.sources.imports.source import ImportSource
from weft.store.memory import MemoryStore

OWN = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: file}
spec: {selector: {app: web}, ports: [{port: 8080, targetPort: http}]}
"""
CONSUL = "consul=https://consul.example:8501"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("consul", "'consul' is not KIND=ADDRESS, for example consul=https://consul.example:8501"),
        ("consol=http://127.0.0.1:8500", "there is no kind 'consol'; did you mean 'consul'?"),
        ("consul=http://consul.example:8500", "http is for loopback only; expected https://"),
        ("consul=https://u:p@consul.example", "it has a user in it"),
        ("consul=https://consul.example/v1", "has a path; expected https://HOST:PORT"),
        (f"{CONSUL}?token=secret", "there is no option 'token'"),
        (f"{CONSUL}?tokenfile=a", "there is no option 'tokenfile'; did you mean 'token_file'?"),
        (f"{CONSUL}?port=0", "port '0' has to be 1 to 65535"),
        (f"{CONSUL}?protocol=http3", "protocol 'http3' has to be one of http, http2"),
        (f"{CONSUL}?poll=0", "poll '0.0' has to be seconds, 0.1 to 3600"),
        (f"{CONSUL}?networks=10.0.0.1/8", "networks: 10.0.0.1/8 has host bits set; expected such as 10.0.0.0/8"),
        (f"{CONSUL}?name=Up", "name 'Up' has to be of lower-case letters"),
        (f"{CONSUL}?stale=1", "stale has to be true or false"),
        (f"{CONSUL}?certificate=a.pem", "certificate and key go together"),
        (f"{CONSUL}?stale", "'stale' is not OPTION=VALUE&OPTION=VALUE"),
        ("file=a.yaml?datacenter=dc1", "'datacenter' means nothing for file"),
        ("dns=web", "'web' is no name of SRV records: expected _service._proto.name, such as _http._tcp.web.example"),
        ("dns=web.shop.example", "'web.shop.example' is no name of SRV records: expected _service._proto.name"),
        ("dns=_web._tcp.shop.example,web._tcp.shop.example", "'web._tcp.shop.example' is no name of SRV records"),
        ("dns=_web.shop.example", "'_web.shop.example' is no name of SRV records"),
        ("dns=_web._tcp", "'_web._tcp' is no name of SRV records"),
    ],
)
def test_what_is_no_import_is_told(text: str, message: str) -> None:
    with pytest.raises(ImportSettingsError) as error:
        import_from_text(text, Path())
    assert message in str(error.value)


def test_a_file_says_the_same_and_more(tmp_path: Path) -> None:
    path = tmp_path / "imports.toml"
    path.write_text(
        '[[import]]\nkind = "consul"\nname = "dc1"\naddress = "https://consul.example:8501/"\ntoken_file = "t"\n'
        'services = ["shop-*"]\ncalled.db = {port = 5432, protocol = "tcp"}\n'
        '[[import]]\nkind = "file"\naddress = "legacy.yaml"\n'
    )
    consul, legacy = imports_from_file(path)
    assert (consul.name, consul.namespace, consul.address) == ("dc1", "dc1", "https://consul.example:8501")
    assert (consul.token_file, consul.called["db"]) == (tmp_path / "t", Called(5432, "tcp"))
    assert legacy.address == str(tmp_path / "legacy.yaml")
    with pytest.raises(ImportSettingsError, match="two imports are called 'dc1'"):
        check_names([consul, elsewhere(consul)])
    path.write_text('[[import]]\nkind = "consul"\nadress = "https://consul.example"\n')
    with pytest.raises(
        ImportSettingsError, match=r"imports\.toml: import 1: there is no option 'adress'; did you mean"
    ):
        imports_from_file(path)


async def test_consul_is_asked_as_it_wants_and_its_words_become_labels(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o644)
    async with small_server("consul", "&datacenter=dc2&tags=prod&services=web,db*") as case:
        settings = elsewhere(case.settings, token_file=token)
        meta = (("version", "v1"), ("weft-port", "8080"), ("weft-protocol", "grpc"), ("weft-service-account", "web"))
        sly = (("app", "bank"), ("security.istio.io/tlsMode", "istio"), ("weft.dev/import", "no"), ("bad key", "x"))
        await case.put(
            {
                "web": [Given(1, tags=("prod", "canary", "zone=a"), meta=(*meta, *sly)), Given(2, tags=("test",))],
                "db-1": [Given(3, tags=("prod",))],
                "other": [Given(4, tags=("prod",))],
            }
        )
        source = ImportSource(settings, MemoryStore(), pace=QUICK)
        async with running(source):
            bad = await reached(source, "an open token is not read", lambda found: bool(found.problems))
            assert "open to other users" in bad.problems[0].message
            token.chmod(0o600)
            found = await reached(source, "it is read", lambda found: bool(found.documents))
            async with asyncio.timeout(60), case.server.changed:
                await case.server.changed.wait_for(lambda: any("wait" in query for _, query, _ in case.server.said))
        assert set(instances(found)) == {"web", "db-1"}
        [web] = [
            one.spec for one in found.documents if isinstance(one.spec, WorkloadEntrySpec) and "canary" in one.text
        ]
        assert dict(web.labels) == {
            "app": "web", "version": "v1", "zone": "a", "tag.weft.dev/prod": "true", "tag.weft.dev/canary": "true",
            "weft.dev/import": "consul", "security.istio.io/tlsMode": "istio",
        }  # fmt: skip
        assert (web.service_account, dict(web.ports)) == ("web", {"grpc": 1})
        assert any('"port":8080' in one.text and one.key.name == "web" for one in found.documents)
        assert all("s3cret" not in one.text for one in found.documents)
        for _, query, headers in case.server.said:
            assert (query["dc"], "stale" in query, headers["X-Consul-Token"]) == ("dc2", True, "s3cret")
        assert {query.get("wait") for _, query, _ in case.server.said} == {None, "60s"}


async def test_an_answer_without_leader_a_refusal_and_a_redirect_are_outages() -> None:
    async with small_server("consul") as case:
        await case.put({"web": [Given(1)]})
        source = ImportSource(case.settings, MemoryStore(), pace=QUICK)
        async with running(source):
            await reached(source, "it is read", has(web=[1]))
            for changes, says in (
                ({"leader": False, "services": {}}, "its servers have no leader"),
                ({"leader": True, "status": 403}, "it answers 403: give a token_file"),
                ({"status": 302}, "a redirect, and those are not followed"),
            ):
                await case.server.change(**changes)
                told = await reached(source, says, functools.partial(_tells, says))
                assert has(web=[1])(told)
            await case.server.change(status=200, services={"web": [Given(2)]}, index=3)
            await reached(source, "an index that went back begins anew", has(web=[2]))


async def test_a_service_of_the_users_own_takes_an_imported_ones_place(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"services": [{"name": "web", "instances": [{"address": "10.0.0.1", "port": 81}]}]}))
    [service] = decode_documents(OWN, "own.yaml").documents

    class Files:
        contents: Cell[Contents | None] = Cell(Contents((service,)))

        async def run(self) -> None:
            self.contents.set(self.contents.value)

    source = ImportSource(import_from_text(f"file={path}", tmp_path), MemoryStore(), pace=QUICK)
    collector = Collector([Files(), source], MeshSettings())
    task = asyncio.create_task(collector.run())
    try:
        async with asyncio.timeout(60):
            await collector.collected.changed(0)
        snapshot = collector.snapshot
        assert service in snapshot.documents
        assert len(snapshot.documents) == 2
        assert not snapshot.problems
        assert instances(Contents(snapshot.documents)) == {"web": ["10.0.0.1:81"]}
    finally:
        task.cancel()
        await asyncio.wait([task])


def _tells(text: str, contents: Contents) -> bool:
    return text in "".join(problem.message for problem in contents.problems)


def test_addresses_of_callers_themselves_and_of_clouds_are_left_out() -> None:
    hosts = (
        "127.0.0.1",
        "::1",
        "169.254.169.254",
        "0.0.0.0",
        "::ffff:127.0.0.1",
        "fe80::1",
        "224.0.0.1",
        "web.example",
    )
    builder = DocumentBuilder(import_from_text("file=a.yaml", Path()))
    service = ImportedService("Web_1", tuple(Instance(host, host, 80) for host in (*hosts, "10.0.0.1")))
    built = builder.build((service, ImportedService("web-1"), ImportedService("???")))
    assert built.instances == 1
    assert len(built.left_out) == len(hosts) + 2
    assert "has the name of another one here: web-1" in " ".join(built.left_out)
    inside = DocumentBuilder(import_from_text("file=a.yaml?networks=10.0.0.0/8", Path()))
    assert inside.build((ImportedService("a", (Instance("x", "192.0.2.1", 80),)),)).instances == 0


def test_the_number_of_instances_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MOST_INSTANCES", 10)
    builder = DocumentBuilder(import_from_text("file=a.yaml", Path()))
    many = tuple(Instance(str(number), f"10.1.{number >> 8}.{number & 255}", 80) for number in range(12))
    built = builder.build((ImportedService("a", many),))
    assert built.instances == 10
    assert "more than 10 instances" in built.left_out[-1]
    assert [object_name(name) for name in ("a.b_C", "9to5", "-", "x" * 80)] == ["a-b-c", "s-9to5", "", "x" * 63]
