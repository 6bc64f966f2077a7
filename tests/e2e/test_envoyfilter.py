"""EnvoyFilter in a real mesh: published patches are in force, and what Envoy refuses never reaches a proxy."""

from __future__ import annotations

from support.http import Client
from support.mesh import Mesh, until

HEAD = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: NAME}
spec:
  workloadSelector: {labels: {app: APP}}
  configPatches:
"""
LUA = """
    - applyTo: HTTP_FILTER
      match:
        context: SIDECAR_INBOUND
        listener:
          portNumber: 8080
          filterChain:
            filter:
              name: envoy.filters.network.http_connection_manager
              subFilter: {name: envoy.filters.http.router}
      patch:
        operation: INSERT_BEFORE
        value:
          name: envoy.filters.http.lua
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
            default_source_code:
              inline_string: "function envoy_on_response(handle) handle:headers():add('x-lua', 'CODE') end"
"""
BAD_CODE = LUA.replace("function envoy_on_response(handle)", "function envoy_on_response(handle")
UNKNOWN_FIELD = LUA.replace("default_source_code", "default_sauce")
MERGED = """
    - applyTo: HTTP_ROUTE
      match: {context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: "echo.default.svc.cluster.local:80"}}}
      patch: {operation: MERGE, value: {response_headers_to_add: [{header: {key: x-patched, value: "yes"}}]}}
    - applyTo: CLUSTER
      match: {context: SIDECAR_OUTBOUND, cluster: {service: nobody.example.com}}
      patch: {operation: MERGE, value: {connect_timeout: 1s}}
"""


def document(name: str, app: str, patches: str) -> str:
    return HEAD.replace("NAME", name).replace("APP", app) + patches


def codes(client: Client, url: str = "http://echo/", header: str = "x-lua") -> set[str | None]:
    """What calls to all instances, over connections of before and of now, were answered with."""
    return {client(url).headers.get(header) for _ in range(12)}


def test_a_filter_before_an_application(world: Mesh, client: Client) -> None:
    with world.applied(document("lua", "echo", LUA.replace("CODE", "one"))):
        until("it is in force", lambda: codes(client) == {"one"})
        told = world.apply(document("lua", "echo", LUA.replace("CODE", "two"))).stderr
        assert "confirmed by 2 proxies" in told, "they are waited for after the trial"
        until("the new one is in force", lambda: codes(client) == {"two"})
        assert "x-lua" not in client("http://other/").headers, "for the workloads that it selects"
        bad = document("lua", "echo", BAD_CODE)
        done = world.weft("apply", "-f", "-", "--wait", stdin=bad, check=False)
        assert done.returncode == 1
        assert "script load error" in done.stderr
        assert "the last text that it took stays in force" in done.stderr
        assert codes(client) == {"two"}, "no call goes without it"
        assert "nack" not in problems(world).lower()
    until("it is gone", lambda: codes(client) == {None})


def problems(world: Mesh) -> str:
    return world.weft("problems", check=False).stderr


def test_what_envoy_refuses_reaches_no_proxy(world: Mesh, client: Client) -> None:
    for bad, why in ((BAD_CODE, "script load error"), (UNKNOWN_FIELD, "default_sauce")):
        with world.applied(document("bad", "echo", bad), check=False):
            until("it is told", lambda: "Envoy does not take" in problems(world) and why in problems(world))  # noqa: B023
            assert client("http://echo/").status == 200
            assert "x-lua" not in client("http://echo/").headers
            assert "nack" not in problems(world).lower()
    assert "Envoy does not take" not in problems(world)


def test_routes_are_merged_and_what_matches_nothing_is_told(world: Mesh, client: Client) -> None:
    with world.applied(document("merged", "client", MERGED), check=False):
        until("it is in force", lambda: client("http://echo/").headers.get("x-patched") == "yes")
        assert "x-patched" not in client("http://other/").headers
        until("the idle patch is told", lambda: "changes nothing" in problems(world))
