"""Facts of Envoy: what a gateway's HTTPS port chooses by the name the client asks for, and what TLS it speaks."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from support.ads import HandMadeAds, ads_bootstrap, serving_ads
from support.certificates import TestAuthority, write_workload_directory
from support.envoy import free_port, running_envoy
from support.loopback import Connection
from support.proxy import running_view
from support.views import gateway, gateway_port, gateway_server, identity, rule, virtual_host
from weft.mesh.memo import Memo
from weft.mesh.routes.connections import Layer4Route
from weft.mesh.routes.rules import Respond
from weft.mesh.views import Certificate, EdgeTls, GatewayServer, GatewayView, Layer4Chain, TlsVersion
from weft.model.origin import Origin
from weft.testing.polling import eventually
from weft.xds.build import build_xds

HOSTS = ("a.example.com", "*.example.com", "other.com")


def _server(host: str, lowest: TlsVersion = "1.3") -> GatewayServer:
    """A listener whose routes answer with 290 and its place in HOSTS."""
    place = HOSTS.index(host)
    return gateway_server(
        name=f"listener-{place}",
        hostnames=(host,),
        virtual_hosts=(virtual_host([rule(Respond(290 + place))], name=host, domains=(host,), port=0),),
        tls=EdgeTls((f"default/{place}",), lowest=lowest),
        misdirected=tuple(other for other in HOSTS if other != host),
    )


def _view(port: int, public: TestAuthority, *servers: GatewayServer) -> GatewayView:
    certificates = []
    for place, host in enumerate(HOSTS):
        leaf = public.issue(dns=(host,))
        certificates.append(Certificate(f"default/{place}", leaf.chain, leaf.key, Origin("secret.yaml", 1)))
    listener = gateway_port(port, port=443, protocol="HTTPS", servers=servers)
    return gateway(listener, certificates=tuple(certificates))


def _client(public: TestAuthority) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=public.bundle.decode())
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    return context


@contextlib.asynccontextmanager
async def running_gateway(directory: Path, lowest: TlsVersion = "1.3") -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """The port of a gateway with one listener for each of HOSTS, and a client that trusts it."""
    port, public = free_port(), TestAuthority()
    servers = (_server("*.example.com"), _server("a.example.com", lowest), _server("other.com"))
    async with running_view(_view(port, public, *servers), directory):
        yield port, _client(public)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.example.com", "a.example.com"),
        ("A.Example.com", "a.example.com"),
        ("b.example.com", "*.example.com"),
        ("c.elsewhere.com", None),
    ],
)
async def test_certificates_are_chosen_by_name(name: str, expected: str | None, tmp_path: Path) -> None:
    seen = None
    async with running_gateway(tmp_path) as (port, context):
        with contextlib.suppress(OSError, ssl.SSLError):
            async with Connection(port, context, name) as client:
                tls = client.writer.get_extra_info("ssl_object")
                assert tls.version() == "TLSv1.3"
                certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True))
                names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                seen = names.get_values_for_type(x509.DNSName)[0]
                assert (await client.request("/", name)).status in (290, 291)
    assert seen == expected


async def test_a_connection_serves_the_hosts_of_its_listener_only(tmp_path: Path) -> None:
    """421 for a host that another listener serves, 404 for one that none does, whatever port the client writes."""
    answers = {
        "a.example.com": {"a.example.com": 290, "A.example.com:8443": 290, "b.example.com": 421, "other.com": 421},
        "b.example.com": {"b.example.com": 291, "c.example.com": 291, "a.example.com": 421, "a.example.com.": 421},
        "other.com": {"other.com": 292, "a.example.com:443": 421, "z.example.com": 421, "elsewhere.com": 404},
    }
    seen: dict[str, dict[str, int]] = {}
    async with running_gateway(tmp_path) as (port, context):
        for name, hosts in answers.items():
            async with Connection(port, context, name) as client:
                seen[name] = {host: (await client.request("/", host)).status for host in hosts}
    assert seen == answers


async def test_a_name_that_is_closed_is_no_wider_listeners(tmp_path: Path) -> None:
    """Neither by the name that TLS asks for, nor by that of a request in a connection for another one."""
    port, public = free_port(), TestAuthority()
    view = _view(port, public, _server("*.example.com"))
    nowhere = Layer4Route((), Origin("a.yaml", 1), view.ports[0].object)
    chains = (Layer4Chain("closed", nowhere, ("a.example.com",)),)
    view = replace(view, ports=(replace(view.ports[0], chains=chains),))
    async with running_view(view, tmp_path):
        async with Connection(port, _client(public), "b.example.com") as client:
            assert (await client.request("/", "b.example.com")).status == 291
            assert (await client.request("/", "a.example.com")).status == 421
        with pytest.raises((OSError, ssl.SSLError)):
            async with Connection(port, _client(public), "a.example.com") as client:
                await client.request("/", "a.example.com")


async def test_tls_1_2_is_spoken_only_where_a_listener_allows_it_and_only_with_safe_ciphers(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, "1.2") as (port, context):
        async with Connection(port, context, "a.example.com") as client:
            assert client.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with Connection(port, context, "a.example.com") as client:
            assert client.writer.get_extra_info("ssl_object").version() == "TLSv1.2"
            assert (await client.request("/", "a.example.com")).status == 290
        for name, ciphers in (
            ("other.com", "DEFAULT"),
            ("a.example.com", "ECDHE-ECDSA-AES128-SHA256"),
            ("a.example.com", "ECDHE-ECDSA-AES256-SHA"),
        ):
            context.set_ciphers(ciphers)
            with pytest.raises((OSError, ssl.SSLError)):
                async with Connection(port, context, name) as client:
                    await client.request("/", name)
        with pytest.warns(DeprecationWarning):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        with pytest.raises((OSError, ssl.SSLError)):
            async with Connection(port, context, "a.example.com") as client:
                await client.request("/", "a.example.com")


async def test_one_more_listener_of_a_port_leaves_connections_to_the_others_alone(tmp_path: Path) -> None:
    """Envoy takes it as an update in place: only filter chains differ, and each has routes of its own."""
    port, public = free_port(), TestAuthority()
    write_workload_directory(tmp_path, public.issue(uri=str(identity("edge"))), public.bundle)
    context = _client(public)
    view = _view(port, public, _server("a.example.com"))
    more = replace(view, ports=(replace(view.ports[0], servers=(_server("a.example.com"), _server("other.com"))),))
    async with serving_ads(HandMadeAds()) as ads:
        ads.tell(build_xds(view, 1, Memo()))
        async with (
            running_envoy(ads_bootstrap(ads), tmp_path) as envoy,
            Connection(port, context, "a.example.com") as client,
        ):

            async def other_answers() -> bool:
                async with Connection(port, context, "other.com") as other:
                    return (await other.request("/", "other.com")).status == 292

            async def drained() -> bool:
                return await envoy.stat("listener_manager.total_filter_chains_draining") == 0

            assert (await client.request("/", "a.example.com")).status == 290
            ads.tell(build_xds(more, 2, Memo()))
            await eventually("the other is served", other_answers)
            assert await envoy.stat("listener_manager.listener_in_place_updated") == 1
            assert (await client.request("/", "a.example.com")).status == 290
            await eventually("nothing drains", drained)
            assert (await client.request("/", "a.example.com")).status == 290
