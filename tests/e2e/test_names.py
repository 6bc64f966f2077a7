"""Names of the mesh, as real resolvers look them up: answered by a responder that outlives its agent."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.hosts import Host, one_host
from support.mesh import APPS, WEFT, Mesh, alive, until

LOOKUP = Path(__file__).parent.parent / "clients" / "lookup"
EXAMPLE = (LOOKUP.parents[2] / "examples" / "names.yaml").read_text()
SUFFIX = "default.svc.cluster.local"
SEARCH = f"search {SUFFIX} svc.cluster.local cluster.local\noptions ndots:5\n"
DOCUMENTS = """
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: four}
spec: {selector: {app: four}, clusterIP: 10.200.0.4, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, clusterIP: None, ports: [{name: tcp-db, port: 5432, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: old}
spec: {type: ExternalName, externalName: www.outside.test}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.com, "*.wild.example.com"]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.77.0.9}]
"""
LATER = """
apiVersion: v1
kind: Service
metadata: {name: later}
spec: {selector: {app: later}, ports: [{name: http, port: 80}]}
"""


def rows(text: str) -> dict[str, list[str]]:
    """Names and addresses, as `weft dns list -o json` has them."""
    return {one["names"][0]: one["addresses"] for one in json.loads(text)}


# -- resolvers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resolver:
    """A program that prints the addresses of names: NAME ADDRESS. `searches`: it knows search domains."""

    words: tuple[str, ...]
    searches: bool = True

    def look_up(self, host: Host, *names: str) -> dict[str, list[str]]:
        """The addresses of each name in the order of their text; none if it finds none."""
        done = host.call(*self.words, *names)
        assert done.returncode == 0, done
        found: dict[str, set[str]] = {name: set() for name in names}
        for line in done.stdout.splitlines():
            name, address = line.split()
            found[name].add(str(ipaddress.ip_address(address)))
        return {name: sorted(each) for name, each in found.items()}


GLIBC = Resolver(("sh", str(LOOKUP / "getent.sh")))


def _built(directory: Path, *words: str) -> Resolver:
    subprocess.run(words, cwd=LOOKUP, check=True, capture_output=True, env={**os.environ, "CGO_ENABLED": "0"})
    return Resolver((str(directory / "lookup"),))


BY_HAND = {"musl": "musl-gcc", "go": "go", "java": "java"}
"""Resolvers that only some machines have, and what they are made with. They are tried where that is."""
HERE = [name for name, program in BY_HAND.items() if shutil.which(program)]


@pytest.fixture(scope="module", params=["glibc", "python", "node lookup", "node resolve", *HERE])
def resolver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Resolver:
    directory = tmp_path_factory.mktemp("resolver")
    target = str(directory / "lookup")
    match request.param:
        case "glibc":
            return GLIBC
        case "python":
            return Resolver((sys.executable, str(LOOKUP / "lookup.py")))
        case "musl":
            return _built(directory, "musl-gcc", "-static", "-o", target, "lookup.c")
        case "go":
            return _built(directory, "go", "build", "-trimpath", "-o", target, "main.go")
        case "java":
            return Resolver(("java", str(LOOKUP / "Lookup.java")))
        case how:
            kind = how.rpartition(" ")[2]
            return Resolver(("node", str(LOOKUP / "lookup.mjs"), kind), searches=kind == "lookup")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host whose resolv.conf names the responder of the workload `client`, and whose own name server is elsewhere."""
    directory = tmp_path_factory.mktemp("names")
    (directory / "mesh.yaml").write_text(DOCUMENTS)
    with one_host(directory, f"nameserver 127.0.0.1\n{SEARCH}") as host:
        server = host.spawn(sys.executable, str(APPS / "name_server.py"), "127.0.0.2", "5353")
        until("the name server answers", lambda: "ready" in server.output())
        control = host.spawn(*WEFT, "serve", "--documents", str(directory / "mesh.yaml"))
        until("the control plane answers", lambda: "ready: " in control.output())
        for words in (
            ("--name", "client", "--dns", "53", "--dns-upstream", "127.0.0.2:5353"),
            ("--name", "db-0", "--labels", "app=db", "--port", "8080:auto", "--health", "none"),
        ):
            host.spawn(*WEFT, "run", *words, "--", "sleep", "600")
        until("names are answered", lambda: "127.0.0.1" in host.weft("dns", "list", "--workload", "client").stdout)
        yield host


@pytest.mark.timeout(300)
def test_every_resolver_finds_what_there_is_and_nothing_else(host: Host, resolver: Resolver) -> None:
    known = rows(host.weft("dns", "list", "--workload", "client", "-o", "json").stdout)
    pair = sorted(known[f"reviews.{SUFFIX}"])
    assert len(pair) == 2
    wanted = {
        f"reviews.{SUFFIX}": pair,
        f"REVIEWS.{SUFFIX}": pair,
        f"four.{SUFFIX}": ["10.200.0.4"],
        f"db.{SUFFIX}": ["127.0.0.1"],
        f"db-0.db.{SUFFIX}": ["127.0.0.1"],
        "api.example.com": sorted(known["api.example.com"]),
        "any.wild.example.com": sorted(known["*.wild.example.com"]),
        "www.outside.test": ["192.0.2.1"],
        f"old.{SUFFIX}": ["192.0.2.1"],
        f"nope.{SUFFIX}": [],
        "nope.outside.test": [],
    }
    if resolver.searches:
        wanted |= {"reviews": pair, "reviews.default": pair, "reviews.default.svc": pair, "four": ["10.200.0.4"]}
    assert resolver.look_up(host, *wanted) == wanted


@pytest.fixture(params=["resolv.conf", *(["nft"] if shutil.which("nft") else [])])
def led(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Host]:
    """A host all of whose DNS leads to the responder of `client`, its own questions, too: by a resolv.conf that it
    reads itself, or by a rule of the system."""
    (tmp_path / "mesh.yaml").write_text(DOCUMENTS)
    by_rule = request.param == "nft"
    with one_host(tmp_path, f"nameserver {'10.77.0.53' if by_rule else '127.0.0.1'}\n{SEARCH}") as host:
        control = host.spawn(*WEFT, "serve", "--documents", str(tmp_path / "mesh.yaml"))
        until("the control plane answers", lambda: "ready: " in control.output())
        host.spawn(*WEFT, "run", "--name", "client", "--dns", "on" if by_rule else "53", "--", "sleep", "600")
        until("names are answered", lambda: "reviews" in host.weft("dns", "list", "--workload", "client").stdout)
        if by_rule:
            rule = f"udp dport 53 redirect to :{host.state('client').dns}\n"
            rules = tmp_path / "rules"
            rules.write_text(
                "table inet names {\nchain out {\ntype nat hook output priority -100; policy accept;\n"
                f"{rule}{rule.replace('udp', 'tcp')}}}\n}}\n"
            )
            done = host.call("nft", "-f", str(rules))
            assert done.returncode == 0, done.stderr
        yield host


def test_where_all_dns_leads_to_us_answers_are_taken_and_our_own_questions_do_not_go_round(led: Host) -> None:
    known = rows(led.weft("dns", "list", "--workload", "client", "-o", "json").stdout)
    assert GLIBC.look_up(led, "reviews") == {"reviews": sorted(known[f"reviews.{SUFFIX}"])}
    for tcp in ((), ("--tcp",)):
        done = led.weft("dns", "lookup", "www.outside.test", "--workload", "client", "-o", "json", *tcp, check=False)
        assert {one["status"] for one in json.loads(done.stdout)} == {"SERVFAIL"}
    log, led_back = led.home / "workloads" / "default" / "client" / "dns.log", led.state("client").dns != 53
    said = "a resolver of this host leads back here"
    assert until("it is told once", lambda: log.read_text().count(said) >= led_back)
    assert log.read_text().count(said) == led_back


# -- the life of the responder -----------------------------------------------------------------------------------------


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    try:
        mesh.serve()
        mesh.apply(DOCUMENTS)
        run_client(mesh)
        yield mesh
    finally:
        mesh.stop()


def run_client(mesh: Mesh) -> None:
    more = ["--dns", "on", "--dns-upstream", "127.0.0.9:9"]
    mesh.run("client", ["sh", "-c", "echo at $WEFT_DNS; exec sleep 600"], port="", more=more)


def listed(mesh: Mesh) -> dict[str, list[str]]:
    return rows(mesh.weft("dns", "list", "--workload", "client", "-o", "json").stdout)


def look_up(mesh: Mesh, name: str, *words: str) -> dict[str, Any]:
    """The first answer that the responder of `client` gives."""
    done = mesh.weft("dns", "lookup", name, "--workload", "client", "-o", "json", *words, check=False)
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


def addresses(mesh: Mesh, name: str) -> list[str]:
    return [one["data"] for one in look_up(mesh, name)["records"]]


def test_a_service_has_its_name_as_soon_as_it_is_applied_and_no_longer_than_it_is_there(mesh: Mesh) -> None:
    until("the application was told where", lambda: f"at 127.0.0.1:{mesh.state('client')['dns']}"
          in mesh.processes["client"].output())  # fmt: skip
    assert look_up(mesh, f"later.{SUFFIX}")["status"] == "NXDOMAIN"
    mesh.apply(LATER)
    found = until("it has its name", lambda: addresses(mesh, "later"))
    assert look_up(mesh, f"later.{SUFFIX}")["from"] == "mesh"
    shown = mesh.weft("get", "service", "later", "-o", "wide").stdout
    assert found[0] in shown
    assert f"addresses: {found[0]}" in mesh.weft("describe", "service", "later").stdout
    assert look_up(mesh, found[0])["records"][0]["data"] == f"later.{SUFFIX}."
    mesh.delete(LATER)
    until("its name is gone", lambda: look_up(mesh, f"later.{SUFFIX}")["status"] == "NXDOMAIN")
    mesh.apply(LATER)
    assert until("it is back", lambda: addresses(mesh, "later")) == found


def test_the_example_says_what_it_shows(mesh: Mesh) -> None:
    mesh.apply(EXAMPLE)
    until("its last document has addresses", lambda: len(addresses(mesh, "any.quotes.example.com")) == 1)
    assert addresses(mesh, "ledger") == ["10.96.0.20"]
    assert look_up(mesh, "ledger-db") == {
        "name": "ledger-db", "type": "A", "status": "NOERROR", "from": "mesh", "records": []
    }  # fmt: skip
    assert [one["data"] for one in look_up(mesh, "billing", "--type", "CNAME")["records"]] == ["billing.example.com."]
    shown = mesh.weft("get", "services", "-o", "wide").stdout
    assert re.search(r"ledger-db .* \(instances\)", shown)
    assert re.search(r"ledger .* 10\.96\.0\.20", shown)
    assert re.search(r"rates .* 240\.240\.", mesh.weft("get", "serviceentries", "-o", "wide").stdout)


def test_names_of_others_fail_alone_where_no_resolver_answers(mesh: Mesh) -> None:
    assert look_up(mesh, "www.outside.test")["status"] == "SERVFAIL"
    assert addresses(mesh, f"reviews.{SUFFIX}")


def test_names_outlive_control_plane_and_agent_and_the_next_ones_take_over(mesh: Mesh) -> None:
    before, responder = listed(mesh), mesh.state("client")["responder"]["pid"]
    mesh.processes["control-plane"].stop(signal.SIGKILL)
    mesh.processes["client"].stop(signal.SIGKILL)
    assert addresses(mesh, "reviews") == before[f"reviews.{SUFFIX}"][:1]
    assert alive(responder)
    run_client_without_control_plane(mesh)
    assert mesh.state("client")["responder"]["pid"] == responder
    assert addresses(mesh, "reviews") == before[f"reviews.{SUFFIX}"][:1]
    mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")  # kept over a restart, and nobody else's
    mesh.apply(LATER)
    until("the new one's names come", lambda: addresses(mesh, "later"))
    now = listed(mesh)
    assert {name: now[name] for name in before} == before
    assert mesh.processes["client"].stop() in (0, 143)
    assert not alive(responder)


def run_client_without_control_plane(mesh: Mesh) -> None:
    """Another agent takes over, and may be there for long before a control plane is."""
    process = mesh.state("client")["agent"]["pid"]
    mesh.spawn(
        "client", "run", "--name", "client", "--labels", "app=client,version=v1", "--service-account", "client",
        "--dns", "on", "--dns-upstream", "127.0.0.9:9", "--", "sh", "-c", "echo at $WEFT_DNS; exec sleep 600",
    )  # fmt: skip
    until("another agent is there", lambda: mesh.state("client")["agent"]["pid"] != process)


def test_a_responder_that_dies_is_started_again_at_the_same_port(mesh: Mesh) -> None:
    state = mesh.state("client")
    os.kill(state["responder"]["pid"], signal.SIGKILL)
    until(
        "another one is there", lambda: (mesh.state("client")["responder"] or state["responder"]) != state["responder"]
    )
    assert until("it answers", lambda: addresses(mesh, "reviews"))
    assert mesh.state("client")["dns"] == state["dns"]


def test_without_names_there_is_no_responder_and_nothing_of_it(mesh: Mesh) -> None:
    mesh.run("plain", ["sh", "-c", "env; exec sleep 600"], port="")
    state = mesh.state("plain")
    assert (state["responder"], state["dns"]) == (None, 0)
    assert "WEFT_DNS" not in mesh.processes["plain"].output()
    directory = mesh.home / "workloads" / "default" / "plain"
    assert not {"names.json", "dns.log"} & {path.name for path in directory.iterdir()}
    done = mesh.weft("dns", "lookup", "reviews", "--workload", "plain", check=False)
    assert "default/plain was not started with `weft run --dns on`; client was" in done.stderr


def test_a_port_that_is_taken_is_said_and_nothing_is_started(mesh: Mesh) -> None:
    taken = str(mesh.state("client")["dns"])
    done = mesh.spawn("second", "run", "--name", "second", "--dns", taken, "--", "sleep", "600")
    assert done.process.wait(60) != 0
    assert f"--dns: port {taken} of 127.0.0.1 is taken" in done.output()
