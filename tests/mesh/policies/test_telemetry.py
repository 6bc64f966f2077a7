"""Telemetry: which signals each side of each proxy gives, as Istio merges documents of several scopes."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.meshdocs import Compiled, documents, gateway_workload, service, workload
from support.telemetry import GATEWAY, OWN, ROOT, World, config, telemetry
from weft.mesh.memo import Memo
from weft.mesh.policies.telemetry import Asked
from weft.mesh.services.service import BackendKey
from weft.mesh.signals import SILENT, STANDARD, Collector, FileSink
from weft.model.snapshot import MeshSettings
from weft.model.telemetry import MetricOverride, MetricTag, overridden
from weft.model.workload import Workload
from weft.schema.decode import decode_documents


def test_without_documents_there_are_metrics_and_nothing_else() -> None:
    world = World()
    assert world.out.signals == world.in_.signals == STANDARD
    assert not world.out.signals.identified
    view = world.mesh.sidecar(workload("web"))
    assert view.outgoing == view.incoming == STANDARD


def test_no_provider_of_metrics_is_silence() -> None:
    world = World(config("defaultProviders: {metrics: []}"))
    assert world.out.signals is SILENT
    assert world.mesh.sidecar(workload("web")).incoming == SILENT


def test_the_meshs_file_is_written_where_no_telemetry_says_anything() -> None:
    text = config('accessLogFile: /dev/stdout\naccessLogEncoding: JSON\naccessLogFormat: \'{"a": "%DURATION%"}\'')
    world = World(text)
    (log,) = world.out.signals.logs
    assert log.sink == FileSink("/dev/stdout", '{"a": "%DURATION%"}', json=True)
    assert World(text, telemetry("accessLogging: [{disabled: true}]")).logs() == {}
    assert World(text, telemetry("accessLogging: [{providers: [{name: two}]}]")).logs() == {"two.log": ""}
    world = World(text, telemetry("accessLogging: [{filter: {expression: response.code >= 400}}]"))
    assert world.logs() == {"/dev/stdout": "response.code >= 400"}


def test_the_provider_called_envoy_is_always_there_with_the_meshs_format() -> None:
    text = telemetry("accessLogging: [{providers: [{name: envoy}]}]", namespace=ROOT)
    assert World(text).out.signals.logs[0].sink == FileSink()
    (log,) = World(config('accessLogFormat: "%DURATION%"'), text).out.signals.logs
    assert log.sink == FileSink("/dev/stdout", "%DURATION%")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((telemetry("accessLogging: [{providers: [{name: one}]}]", namespace=ROOT),), {"one.log": ""}),
        (
            (
                telemetry("accessLogging: [{providers: [{name: one}]}]", namespace=ROOT),
                telemetry("accessLogging: [{providers: [{name: TWO}]}]", "ns"),
            ),
            {"two.log": ""},
        ),
        (
            (
                telemetry("accessLogging: [{providers: [{name: one}]}]", namespace=ROOT),
                telemetry("accessLogging: [{disabled: true}]", "ns"),
            ),
            {},
        ),
        (
            (
                telemetry("accessLogging: [{disabled: true, providers: [{name: one}]}]", namespace=ROOT),
                telemetry(OWN + "accessLogging: [{disabled: false}]", "own"),
            ),
            {"one.log": ""},
        ),
        (
            (
                telemetry("accessLogging: [{providers: [{name: one}, {name: two}]}]", namespace=ROOT),
                telemetry("accessLogging: [{filter: {expression: connection.mtls}}]", "ns"),
                telemetry(OWN + "tracing: [{randomSamplingPercentage: 1}]", "own"),
            ),
            {"one.log": "connection.mtls", "two.log": "connection.mtls"},
        ),
        (
            (
                telemetry("accessLogging: [{providers: [{name: one}], filter: {expression: 'true'}}]", namespace=ROOT),
                telemetry("accessLogging: [{providers: [{name: one}]}]", "ns"),
            ),
            {"one.log": ""},
        ),
        (
            (telemetry("selector: {matchLabels: {app: other}}\naccessLogging: [{providers: [{name: one}]}]"),),
            {},
        ),
        (
            (
                telemetry(
                    "targetRefs: [{group: '', kind: Service, name: web}]\naccessLogging: [{providers: [{name: one}]}]"
                ),
            ),
            {"one.log": ""},
        ),
    ],
)
def test_narrower_scopes_go_over_wider_ones(texts: tuple[str, ...], expected: dict[str, str]) -> None:
    assert World(config(), *texts).logs() == expected


def test_an_entry_may_be_for_one_side() -> None:
    world = World(
        config(),
        telemetry(
            "accessLogging:\n- {match: {mode: CLIENT}, providers: [{name: one}]}\n"
            "- {match: {mode: SERVER}, providers: [{name: two}], filter: {expression: response.code >= 400}}"
        ),
    )
    assert world.logs() == {"one.log": ""}
    assert world.logs(world.in_.signals) == {"two.log": "response.code >= 400"}


def test_gateways_are_callers_and_targets() -> None:
    one = telemetry(
        "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]\n"
        "accessLogging: [{match: {mode: CLIENT}, providers: [{name: one}]}]"
    )
    two = telemetry(
        "targetRef: {group: gateway.networking.k8s.io, kind: GatewayClass, name: weft}\n"
        "accessLogging: [{providers: [{name: two}]}]",
        "class",
        ROOT,
    )
    edge = gateway_workload("edge")
    assert World(config(), GATEWAY, one, of=edge).logs() == {"one.log": ""}
    assert World(config(), GATEWAY, two, of=edge).logs() == {"two.log": ""}
    assert World(config(), GATEWAY, one, two, of=edge).logs() == {"one.log": ""}
    assert World(config(), GATEWAY, one, two).logs() == {}
    view = Compiled(service("web"), config(), GATEWAY, one).gateway("edge")
    assert [log.sink for log in view.signals.logs] == [FileSink("one.log")]


@pytest.mark.parametrize("field", ["targetRefs: [{%s}]", "targetRef: {%s}"])
def test_a_class_of_gateways_is_not_for_every_namespace_to_speak_of(field: str) -> None:
    target = field % "group: gateway.networking.k8s.io, kind: GatewayClass, name: weft"
    text = telemetry(f"{target}\naccessLogging: [{{providers: [{{name: two}}]}}]", namespace="other")
    world = World(config(), GATEWAY, text, of=gateway_workload("edge"))
    assert world.codes == ["misplaced-policy"]
    assert world.logs() == {}


def test_sampling_is_of_the_narrowest_scope_that_says_it() -> None:
    log = telemetry("accessLogging: [{providers: [{name: one}]}]", namespace=ROOT, sampling="50")
    own = telemetry(OWN + "accessLogging: [{disabled: false}]", "own", sampling="5")
    mesh = config("accessLogSampling: 20")
    assert World(mesh, telemetry("accessLogging: [{providers: [{name: one}]}]")).out.signals.logs[0].sampling == 20
    assert World(mesh, log).out.signals.logs[0].sampling == 50
    assert World(mesh, log, own).out.signals.logs[0].sampling == 5


def test_traces_field_by_field() -> None:
    mesh = config("defaultProviders: {tracing: [otel]}\ndefaultConfig: {tracing: {sampling: 7}}")
    assert World(config()).out.signals.tracing is None
    default = World(mesh).out.signals.tracing
    assert default is not None
    assert (default.provider, default.sampling, default.collector) == (
        "opentelemetry-grpc", 7.0, Collector(host="127.0.0.1", port=4317),
    )  # fmt: skip
    world = World(
        mesh,
        telemetry("tracing: [{randomSamplingPercentage: 10, customTags: {a: {literal: {value: b}}}}]", namespace=ROOT),
        telemetry("tracing: [{providers: [{name: zip}]}]", "ns"),
        telemetry(OWN + "tracing: [{match: {mode: SERVER}, disableSpanReporting: true}]", "own"),
    )
    tracing = world.out.signals.tracing
    assert tracing is not None
    assert (tracing.provider, tracing.sampling) == ("zipkin", 10.0)
    names = {tag.name: tag.value for tag in tracing.tags}
    assert names == {
        "a": "b",
        "istio.canonical_service": "web",
        "istio.canonical_revision": "v1",
        "istio.namespace": "default",
    }
    assert world.in_.signals.tracing is None
    assert world.out.signals.reporter is not None
    assert world.out.signals.identified


def test_traces_of_the_older_settings_hold_where_no_telemetry_speaks_of_traces() -> None:
    older = config("enableTracing: true\ndefaultConfig: {tracing: {zipkin: {address: '127.0.0.1:9411'}, sampling: 3}}")
    tracing = World(older).out.signals.tracing
    assert tracing is not None
    assert (tracing.provider, tracing.sampling, tracing.collector.port) == ("zipkin", 3.0, 9411)
    assert World(older.replace("enableTracing: true", "enablePrometheusMerge: true")).out.signals.tracing == tracing
    assert World(older.replace("enableTracing: true", "enableTracing: false")).out.signals.tracing is None
    assert World(older, telemetry("tracing: [{randomSamplingPercentage: 1}]")).out.signals.tracing is None


def test_metrics_are_changed_in_order() -> None:
    world = World(
        telemetry(
            "metrics:\n- overrides:\n  - match: {metric: REQUEST_COUNT}\n    tagOverrides:\n"
            "      response_code: {operation: REMOVE}\n      place: {value: \"'edge'\"}\n"
            "  - match: {metric: REQUEST_SIZE, mode: SERVER}\n    disabled: true",
            namespace=ROOT,
        ),
        telemetry(
            "metrics:\n- overrides:\n  - match: {metric: REQUEST_COUNT, mode: CLIENT}\n    tagOverrides:\n"
            "      place: {operation: REMOVE}\n      port: {value: string(destination.port)}"
        ),
    )
    assert world.settings.source == (
        MetricOverride(
            "REQUEST_COUNT", removed=("place", "response_code"), tags=(MetricTag("port", "", "destination.port"),)
        ),
    )
    assert world.settings.destination == (
        MetricOverride("REQUEST_COUNT", removed=("response_code",), tags=(MetricTag("place", "edge"),)),
        MetricOverride("REQUEST_SIZE", disabled=True),
    )
    labels = {"response_code": "200", "place": "x"}
    assert overridden(world.settings.source, "REQUEST_COUNT", labels, {"destination.port": "80"}) == {"port": "80"}
    assert overridden(world.settings.destination, "REQUEST_SIZE", labels, {}) is None
    assert overridden(world.settings.destination, "RESPONSE_SIZE", labels, {}) == labels


@pytest.mark.parametrize(
    ("overrides", "client", "server"),
    [
        ("[{match: {metric: ALL_METRICS}, disabled: true}]", False, False),
        ("[{match: {metric: ALL_METRICS, mode: CLIENT}, disabled: true}]", False, True),
        ("[{match: {mode: SERVER}, disabled: true}]", True, False),
        (
            "[{match: {metric: ALL_METRICS}, disabled: true}, {match: {metric: REQUEST_COUNT}, disabled: false}]",
            True,
            True,
        ),
        ("[{match: {metric: REQUEST_COUNT}, disabled: true}]", True, True),
        ("[{disabled: true}]", False, False),
        ("[{disabled: true}, {match: {metric: REQUEST_COUNT}, tagOverrides: {x: {operation: REMOVE}}}]", True, True),
    ],
)
def test_all_metrics_disabled_is_no_logger(overrides: str, client: bool, server: bool) -> None:
    world = World(telemetry(f"metrics: [{{providers: [{{name: prometheus}}], overrides: {overrides}}}]"))
    assert (world.out.signals.metrics is not None, world.in_.signals.metrics is not None) == (client, server)


@pytest.mark.parametrize("every", ["match: {metric: ALL_METRICS}, ", ""])
def test_what_is_said_of_one_metric_ends_that_all_are_disabled(every: str) -> None:
    overrides = f"[{{{every}disabled: true}}, {{match: {{metric: REQUEST_COUNT, mode: CLIENT}}, disabled: false}}]"
    world = World(telemetry(f"metrics: [{{overrides: {overrides}}}]"))
    assert world.settings.source == ()
    assert world.out.signals.metrics is not None
    assert world.in_.signals.metrics is None


def test_collectors_that_are_services_are_told_to_the_proxy() -> None:
    mesh = Compiled(
        service("web"),
        service("collector", namespace="telemetry", extra="  - {name: grpc-otlp, port: 4317}\n"),
        config("defaultProviders: {tracing: [spans], accessLogging: [records]}", """
  extensionProviders:
  - {name: spans, opentelemetry: {service: collector.telemetry.svc.cluster.local, port: 4317}}
  - {name: records, envoyOtelAls: {service: telemetry/collector, port: 4317}}
"""),
    )  # fmt: skip
    assert mesh.codes == []
    view = mesh.sidecar(workload("web", uses=("web",)))
    key = BackendKey("collector.telemetry.svc.cluster.local", 4317)
    assert key in {target.backend.key for target in view.targets.targets()}
    assert view.outgoing.tracing is not None
    assert view.outgoing.tracing.collector == Collector(key)
    assert view.outgoing.reporter is not None


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (telemetry("accessLogging: [{providers: [{name: tow}]}]"), ["unknown-provider"]),
        (telemetry("tracing: [{providers: [{name: one}]}]"), ["unknown-provider"]),
        (telemetry("accessLogging: [{disabled: true}]") + telemetry("metrics: [{}]", "u"), ["policy-conflict"]),
        (telemetry("accessLogging: [{filter: {expression: 'true'}}]"), ["no-provider"]),
        (telemetry("tracing: [{randomSamplingPercentage: 5}]"), ["no-provider"]),
        (telemetry("tracing: [{disableSpanReporting: true}]\naccessLogging: [{disabled: true}]"), []),
        (telemetry("tracing: [{randomSamplingPercentage: 5, providers: [{name: otel}]}]"), []),
        (
            telemetry("targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: weft}]"),
            ["misplaced-policy"],
        ),
    ],
)
def test_what_is_wrong_between_documents_is_told(text: str, codes: list[str]) -> None:
    assert World(config(), text).codes == codes


@pytest.mark.parametrize(
    ("provider", "code"),
    [
        ("{name: x, opentelemetry: {service: nowhere.telemetry.svc.cluster.local, port: 4317}}", "unknown-service"),
        ("{name: x, opentelemetry: {service: telemetry/nowhere, port: 4317}}", "unknown-service"),
        ("{name: x, zipkin: {service: default/web, port: 1}}", "unknown-port"),
        ("{name: x, envoyOtelAls: {service: default/web, port: 9080}}", "collector-protocol"),
    ],
)
def test_services_of_providers_are_looked_up(provider: str, code: str) -> None:
    assert World(config(providers=f"  extensionProviders:\n  - {provider}\n")).codes == [code]


def test_providers_may_stand_in_istios_config_map_and_are_told_with_their_line() -> None:
    text = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    extensionProviders:
    - name: otel
      envoyOtelAls: {port: 4317, service: collector.observability.svc.cluster.local}
"""
    world = World(text)
    assert world.logs() == {"/dev/stdout": ""}
    [problem] = world.mesh.mesh.problems
    assert (problem.code, problem.origin.line) == ("unknown-service", 10)


def test_a_route_may_turn_lines_on_or_off() -> None:
    def route(word: str) -> str:
        return f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, annotations: {{weft.dev/access-log: "{word}"}}}}
spec: {{hosts: [web], http: [{{route: [{{destination: {{host: web}}}}]}}]}}
"""

    on = World(route("on"))
    (log,) = on.out.signals.logs
    assert (log.by_default, log.on_by_route, log.sink) == (False, True, FileSink())
    assert on.in_.signals.logs == ()
    rules = [each for host in on.mesh.sidecar().outbound.virtual_hosts for each in host.rules]
    assert [each.access_log for each in rules] == ["on"]
    off = World(config("accessLogFile: /dev/stdout"), route("off"))
    assert [(log.off_by_route, log.on_by_route) for log in off.out.signals.logs] == [(True, False)]
    silenced = World(config("accessLogFile: /dev/stdout"), route("on"), telemetry("accessLogging: [{disabled: true}]"))
    assert silenced.out.signals.logs == (), "a Telemetry that turns them off has the last word"


def test_each_signal_says_which_document_and_line_asked_for_it() -> None:
    own = documents(telemetry(OWN + "accessLogging:\n- providers: [{name: one}]"), "own.yaml")
    world = World(config(), own)
    key = own[0].key
    assert (
        Asked("calls it makes", "access log", "one.log", key, own[0].at("spec", "accessLogging", 0)) in world.out.asked
    )
    assert world.out.asked[0] == Asked("calls it makes", "metrics", "on")


def test_what_is_shared_stays_the_same_object_and_other_services_change_nothing() -> None:
    memo = Memo()
    texts = [documents(text, f"{number}.yaml") for number, text in enumerate((service("web"), config(), telemetry(
        "accessLogging: [{providers: [{name: one}]}]")))]  # fmt: skip
    settings = MeshSettings()
    first = Compiled(*texts, memo=memo, settings=settings).sidecar(workload("web"))
    again = Compiled(*texts, documents(service("other"), "o.yaml"), memo=memo, settings=settings).sidecar(
        workload("web")
    )
    assert first.outgoing is again.outgoing
    assert first.incoming is again.incoming


def test_the_documents_of_istios_tasks_are_in_force() -> None:
    published = (Path(__file__).parents[2] / "schema" / "published" / "telemetry.yaml").read_text()
    providers = "  extensionProviders:\n  - {name: otel-tracing, opentelemetry: {service: 127.0.0.1, port: 4317}}\n"
    gateway = GATEWAY.replace("name: edge", "name: ingress, namespace: foo")
    separate = [documents(text, f"{number}.yaml") for number, text in enumerate(published.split("---\n"))]
    assert len(separate) == 8

    def world(*names: str, of: Workload | None = None) -> World:
        chosen = [each for each in separate if each[0].key.name in names]
        found = World(config(providers=providers), gateway, *chosen, of=of)
        assert found.codes == []
        return found

    foo = workload("foo", namespace="bar", labels=(("service.istio.io/canonical-name", "foo"),))
    assert world("mesh-default").logs() == {"/dev/stdout": ""}
    sleep = workload("sleep", namespace=ROOT)
    assert world("mesh-default", "only-errors", of=sleep).logs() == {"/dev/stdout": "response.code >= 400"}
    traced = world("sampled-with-tags", of=foo).out.signals.tracing
    assert traced is not None
    assert (traced.sampling, {"my_new_foo_tag", "version", "user"} <= {tag.name for tag in traced.tags}) == (10.0, True)
    assert world("sampled-with-tags", "no-spans", of=foo).out.signals.tracing is None
    [count] = world("remove-tags").settings.source
    assert (count.removed, count.tags) == (("response_code",), (MetricTag("destination_port", "", "destination.port"),))
    quiet = world("no-client-metrics", of=workload("web", namespace="foo"))
    assert (quiet.out.signals.metrics, quiet.in_.signals.metrics is None) == (None, False)
    assert world("gateway", of=gateway_workload("ingress", "foo")).logs() == {"/dev/stdout": ""}


@pytest.mark.parametrize(
    ("annotation", "code"),
    [
        ('weft.dev/access-log: "yes"', "bad-value"),
        ('weft.dev/access-log-sampling: "101"', "bad-value"),
        ('weft.dev/acess-log: "on"', "unknown-field"),
    ],
)
def test_annotations_of_ours_say_what_they_may(annotation: str, code: str) -> None:
    text = f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, annotations: {{{annotation}}}}}
spec: {{hosts: [web], http: [{{route: [{{destination: {{host: web}}}}]}}]}}
"""
    (problem,) = decode_documents(text, "x.yaml").problems
    assert problem.code == code
