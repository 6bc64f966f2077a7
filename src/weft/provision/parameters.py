"""Parameters of Gateways and GatewayClasses: ConfigMaps of YAML that is merged over the objects that weft makes.

https://gateway-api.sigs.k8s.io/reference/spec/#localparametersreference
"""

from __future__ import annotations

import functools
import itertools
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from weft.mesh.gateways.infrastructure import (
    INVALID_PARAMETERS,
    KEYS,
    OF_CLASS,
    OF_GATEWAY,
    Infrastructure,
    ParametersDocument,
    infrastructure_of,
    parameters_of,
)
from weft.mesh.problems import problem_at
from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldPath, Origin, path_text
from weft.model.problem import Problem, Severity
from weft.provision.allowed import PROXY, PROXY_NAMES, SHAPES
from weft.provision.shapes import PATCH, faults_of
from weft.schema.findings import Finding, printable
from weft.schema.kinds.gateway import CONTROLLER_NAME, GatewayClassSpec, GatewaySpec
from weft.schema.kinds.meshconfig import PARAMETERS, ConfigMapSpec
from weft.schema.wording import nearest_name, shown
from weft.schema.yaml_nodes import Node, YamlDocument, field_lines, parse_documents, plain_value

Overlays = Mapping[str, Mapping[str, Any] | None]
"""What is merged over each of the five objects, by key; None: there is to be no such object."""
ConfigMapDocument = Document[ConfigMapSpec]
_OPTIONAL = ("horizontalPodAutoscaler", "podDisruptionBudget")
"""What a Gateway can be without: null says so."""
_MOST_TOLD = 5
_LONGEST = 32 * 1024
"""Characters of an entry. Who may write ConfigMaps chooses them, and everybody waits while they are read."""
_LONGEST_NAME = 100
"""Characters of a name that are shown."""
_MOST_VALUES = 2000
"""In an entry, aliases expanded."""
_MOST_FAULTS = 20
"""That are looked for in a ConfigMap: each is compared with names that were perhaps meant."""
CLASS_NAME: FieldPath = ("spec", "gatewayClassName")
"""Where a Gateway says whose parameters it has beside its own."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong in a ConfigMap: below `key` of its data, in `line` of the text (0: none)."""

    key: str
    finding: Finding
    line: int = 0

    @property
    def path(self) -> FieldPath:
        """The field, with its names as they may be shown."""
        parts = ("data", self.key, *self.finding.path)
        return tuple([printable(each[:_LONGEST_NAME]) if isinstance(each, str) else each for each in parts])


@dataclass(frozen=True, slots=True)
class Parameters:
    """What the ConfigMaps of one Gateway say, in the order in which it is merged. `own`: one is the Gateway's."""

    layers: tuple[Overlays, ...] = ()
    own: bool = False

    def of(self, key: str) -> tuple[Mapping[str, Any], ...]:
        """The overlays of an object. What stands before a null counts no more."""
        found: list[Mapping[str, Any]] = []
        for layer in self.layers:
            if key in layer:
                overlay = layer[key]
                found = [] if overlay is None else [*found, overlay]
        return tuple(found)

    def says(self, key: str) -> bool | None:
        """Whether there is to be an object (False: it was taken away); None where nothing is said of it."""
        last = [layer[key] for layer in self.layers if key in layer][-1:]
        return last[0] is not None if last else None

    def counts_pods(self) -> bool:
        """Whether the number of pods is said by a ConfigMap, and no later one nor itself asks for an autoscaler. The
        last that speaks of it counts: null says no number."""
        for layer in reversed(self.layers):
            if layer.get("horizontalPodAutoscaler") is not None:
                return False
            if "replicas" in _spec_of(layer):
                return replicas_of(layer) is not None
        return False


NO_PARAMETERS = Parameters()


def replicas_of(layer: Overlays) -> Any:
    """How many pods a ConfigMap asks for; None where it does not say."""
    return _spec_of(layer).get("replicas")


def _spec_of(layer: Overlays) -> Mapping[str, Any]:
    """What a ConfigMap says of the Deployment's spec."""
    return (layer.get("deployment") or {}).get("spec") or {}


class ParametersBook:
    """The parameters of all Gateways among documents. `problems` are those of the GatewayClasses."""

    def __init__(self, documents: Sequence[Document[object]]) -> None:
        found = [cast("ConfigMapDocument", each) for each in documents if isinstance(each.spec, ConfigMapSpec)]
        self._config_maps = {each.key: each for each in found}
        self._of_classes: dict[str, Overlays | None] = {}
        problems: list[Problem] = []
        for each in documents:
            if isinstance(each.spec, GatewayClassSpec) and each.spec.controller_name == CONTROLLER_NAME:
                overlays, wrong = self._at(cast("ParametersDocument", each))
                self._of_classes[each.key.name] = overlays
                problems += wrong
        self.problems = tuple(problems)

    def of(
        self, gateway: Document[GatewaySpec], ports: Sequence[tuple[int, str]]
    ) -> tuple[Parameters | None, list[Problem]]:
        """Those of a Gateway whose Service has `ports` (each with its transport), and what is to be said of them. None:
        they cannot be used. What its class says of a port is for Gateways that have that port."""
        own, wrong = self._at(gateway)
        name = gateway.spec.gateway_class_name
        of_class = self._of_classes.get(name, {})
        if of_class is None:
            message = f"the parameters of GatewayClass '{name}' cannot be used as they are"
            expected = "parameters without the mistakes that are told of the GatewayClass"
            wrong = (*wrong, problem_at(gateway, CLASS_NAME, INVALID_PARAMETERS, message, expected))
        if own is None or of_class is None:
            return None, list(wrong)
        strange = [each for each in _ports_in(own) if not _is_among(each, ports)]
        wrong = (*wrong, *(_strange(gateway, each, ports) for each in strange))
        if any(PATCH not in each for each in strange):
            return None, list(wrong)
        asked = infrastructure_of(gateway)
        own, taken = _beside(own, asked)
        wrong = (*wrong, *(_said_itself(gateway, each) for each in taken[:_MOST_TOLD]))
        of_class, _ = _beside(_for_ports(of_class, ports), asked)
        layers = tuple([each for each in (of_class, own) if each])
        return (Parameters(layers, bool(own)) if layers else NO_PARAMETERS), list(wrong)

    def _at(self, document: ParametersDocument) -> tuple[Overlays | None, tuple[Problem, ...]]:
        return overlays_at(document, self._config_maps)


def _beside(overlays: Overlays, asked: Infrastructure) -> tuple[Overlays, list[FieldPath]]:
    """What a ConfigMap says, without the labels and annotations that the Gateway says itself; and which those are: who
    may write it may not be who may write Gateways."""
    taken: list[FieldPath] = []
    said = {"labels": asked.labels or {}, "annotations": asked.annotations or {}}
    if not any(said.values()):
        return overlays, taken
    return {key: each and _less(each, said, (key,), taken) for key, each in overlays.items()}, taken


def _less(
    overlay: Mapping[str, Any], said: Mapping[str, Mapping[str, str]], path: FieldPath, taken: list[FieldPath]
) -> Mapping[str, Any]:
    """An overlay, or what stands at `path` of it, without names that are said in its metadata; these are `taken`."""
    found = dict(overlay)
    for name in ("spec", "template"):
        if found.get(name):
            found[name] = _less(found[name], said, (*path, name), taken)
    metadata = dict(found.get("metadata") or {})
    for what, names in said.items():
        given = metadata.get(what) or {}
        known = [name for name in given if name in names]
        if known:
            taken += [(*path, "metadata", what, name) for name in known]
            metadata[what] = {name: each for name, each in given.items() if name not in names}
            found["metadata"] = metadata
    return found


def _said_itself(gateway: Document[GatewaySpec], path: FieldPath) -> Problem:
    key, _ = parameters_of(gateway)
    where = f"ConfigMap {key.namespace}/{key.name}" if key is not None else "its ConfigMap"
    message = f"{where}: {path_text(path)}: 'spec.infrastructure' of the Gateway says it"
    return problem_at(gateway, OF_GATEWAY, "no-effect", message, "one of them", severity=Severity.WARNING)


def _strange(gateway: Document[GatewaySpec], said: Mapping[str, Any], ports: Sequence[tuple[int, str]]) -> Problem:
    """That a Gateway says something of a port that it has not. To take it away may stay: documents that were written
    for Istio do so with a port of Istio's own."""
    message = f"service: spec.ports: no listener has port {_port_text(said)}"
    known = f"one of {', '.join(str(number) for number, _ in ports)}"
    if PATCH not in said:
        return problem_at(gateway, OF_GATEWAY, INVALID_PARAMETERS, message, known)
    message += ", so there is nothing to take away"
    return problem_at(gateway, OF_GATEWAY, "no-effect", message, known, severity=Severity.WARNING)


def _ports_in(overlays: Overlays) -> Sequence[Mapping[str, Any]]:
    """What is said of ports."""
    return ((overlays.get("service") or {}).get("spec") or {}).get("ports") or ()


def _is_among(said: Mapping[str, Any], ports: Sequence[tuple[int, str]]) -> bool:
    return any(said["port"] == number and said.get("protocol", of) == of for number, of in ports)


def _port_text(said: Mapping[str, Any]) -> str:
    return f"{said['port']} {said.get('protocol', '')}".rstrip()


def _for_ports(overlays: Overlays, ports: Sequence[tuple[int, str]]) -> Overlays:
    """What a class says, without the ports that a Gateway has not."""
    service = overlays.get("service")
    if service is None or all(_is_among(each, ports) for each in _ports_in(overlays)):
        return overlays
    kept = [each for each in service["spec"]["ports"] if _is_among(each, ports)]
    return {**overlays, "service": {**service, "spec": {**service["spec"], "ports": kept}}}


def reference_problems(document: Document[object], others: Iterable[Document[object]]) -> tuple[Problem, ...]:
    """What is wrong with the reference of a Gateway or a GatewayClass, if it is not another controller's by what the
    `others` say."""
    of_gateways = isinstance(document.spec, GatewayClassSpec | GatewaySpec)
    if not of_gateways or not _may_be_ours(document, _classes_of_others(others)):
        return ()
    _, wrong = parameters_of(document)  # type: ignore[arg-type]
    return (wrong,) if wrong is not None else ()


def _may_be_ours(document: Document[object], classes_of_others: frozenset[str]) -> bool:
    """Whether it is a GatewayClass of ours, or a Gateway of which nobody says that it is another controller's."""
    spec = document.spec
    if isinstance(spec, GatewayClassSpec):
        return spec.controller_name == CONTROLLER_NAME
    return isinstance(spec, GatewaySpec) and spec.gateway_class_name not in classes_of_others


def _classes_of_others(documents: Iterable[Document[object]]) -> frozenset[str]:
    return frozenset([
        each.key.name
        for each in documents
        if isinstance(each.spec, GatewayClassSpec) and each.spec.controller_name != CONTROLLER_NAME
    ])  # fmt: skip


def overlays_at(
    document: ParametersDocument, config_maps: Mapping[ObjectKey, ConfigMapDocument]
) -> tuple[Overlays | None, tuple[Problem, ...]]:
    """What the ConfigMap says to which a Gateway or GatewayClass refers: nothing where it refers to none, None where it
    cannot be used, and why."""
    key, wrong = parameters_of(document)
    if wrong is not None:
        return None, (wrong,)
    if key is None:
        return {}, ()
    path = OF_CLASS if isinstance(document.spec, GatewayClassSpec) else OF_GATEWAY
    found = config_maps.get(key)
    if found is None:
        message = f"there is no ConfigMap {key.namespace}/{key.name} with parameters that weft may read"
        return None, (problem_at(document, (*path, "name"), INVALID_PARAMETERS, message, KEYS),)
    overlays, faults = read_parameters(found.text)
    told = [_at_reference(document, path, found, each) for each in faults[:_MOST_TOLD]]
    if not faults and (said := _two_say(overlays)) is not None:
        message = f"ConfigMap {key.namespace}/{key.name}: {said}"
        told = [problem_at(document, path, "no-effect", message, "one of them", severity=Severity.WARNING)]
    return (None if faults else overlays), tuple(told)


def parameters_problems(documents: Iterable[Document[object]]) -> tuple[Problem, ...]:
    """What is wrong with the references of Gateways and GatewayClasses among `documents`, and in the ConfigMaps among
    them to which they lead, at the fields of these. That one is not among them is nobody's mistake here, and what is
    another controller's is not judged."""
    every = tuple(documents)
    of_others = _classes_of_others(every)
    found = [parameters_of(each) for each in every if _may_be_ours(each, of_others)]  # type: ignore[arg-type]
    references = [wrong for _, wrong in found if wrong is not None]
    named = {key for key, _ in found}
    faults = [
        _at_config_map(each, fault)
        for each in every
        if isinstance(each.spec, ConfigMapSpec) and each.key in named
        for fault in read_parameters(each.text)[1]
    ]
    return (*references, *faults)


@functools.lru_cache(maxsize=64)
def read_parameters(text: str) -> tuple[Overlays, tuple[Fault, ...]]:
    """What a ConfigMap, as JSON, says, and what is wrong with it, `_MOST_FAULTS` at most. With
    faults none of it is to be used."""
    data = msgspec.json.decode(text, type=dict[str, Any]).get("data") or {}
    overlays: dict[str, Mapping[str, Any] | None] = {}
    faults: list[Fault] = []
    for key, written in data.items():
        if len(faults) >= _MOST_FAULTS:
            break
        if key not in SHAPES:
            expected = f"one of {', '.join(PARAMETERS)}"
            faults.append(Fault(key, Finding((), f"unknown key {shown(key)}", expected, nearest_name(key, PARAMETERS))))
            continue
        text = written if isinstance(written, str) else ""
        try:
            said, wrong = _entry(key, text)
        except Exception as error:  # one text must not stop the Gateways of others, whatever is in it
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} in {frame.name}, line {frame.lineno}"
            message = f"weft cannot read it ({place}); please report it"
            said, wrong = {}, [Fault(key, Finding((), message, "parameters that weft can read"))]
        overlays |= said
        faults += wrong
    return overlays, tuple(faults[:_MOST_FAULTS])


def _entry(key: str, text: str) -> tuple[Overlays, list[Fault]]:
    """What an entry says, by its key (nothing if it has comments alone), and what is wrong with it."""
    if len(text) > _LONGEST:
        return {}, [Fault(key, Finding((), f"found a text of {len(text)} characters", f"at most {_LONGEST}"))]
    documents = list(parse_documents(text, "", most=_MOST_VALUES, nulls=True))
    wrong = _unread(key, documents)
    if wrong or not documents:
        return {}, wrong
    overlay, wrong = _read(key, documents[0].root)
    return {key: overlay}, wrong


def _unread(key: str, documents: Sequence[YamlDocument]) -> list[Fault]:
    """What is wrong with an entry as YAML."""
    problems = [problem for each in documents for problem in each.problems]
    if not problems and len(documents) > 1:
        return [Fault(key, Finding((), f"found {len(documents)} YAML documents", "one"))]
    return [Fault(key, Finding((), each.message), each.origin.line) for each in problems]


def _read(key: str, root: Node | None) -> tuple[Mapping[str, Any] | None, list[Fault]]:
    if root is None or root.value is None:
        taken = Finding((), "found null, and weft needs it", "fields of it")
        return None, [] if key in _OPTIONAL else [Fault(key, taken)]
    lines = field_lines(root, "")
    found = itertools.islice(faults_of(root, SHAPES[key]), _MOST_FAULTS)
    faults = [Fault(key, each, lines.origin(*each.path).line) for each in found]
    if faults:
        return None, faults
    overlay = cast("dict[str, Any]", plain_value(root))
    if (length := _length(overlay)) > _LONGEST:
        message = f"found a text of {length} characters, aliases expanded"
        return None, [Fault(key, Finding((), message, f"at most {_LONGEST}"))]
    if (unfit := _unfit(key, overlay)) is not None:
        return None, [Fault(key, unfit, lines.origin(*unfit.path).line)]
    return _in_our_words(overlay), []


def _unfit(key: str, overlay: Mapping[str, Any]) -> Finding | None:
    """What no shape says: that an autoscaler has to have its bound, and what the proxy's two names do not."""
    spec = overlay.get("spec") or {}
    if key == "horizontalPodAutoscaler" and "maxReplicas" in spec and spec["maxReplicas"] is None:
        return Finding(("spec", "maxReplicas"), "found null, and weft needs it", "a number of pods")
    if len(_containers(overlay)) > 1:
        message = f"the proxy is given twice, as {' and '.join(each['name'] for each in _containers(overlay))}"
        return Finding(("spec", "template", "spec", "containers", 1), message, "one of them")
    return None


def _containers(overlay: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    template = (overlay.get("spec") or {}).get("template") or {}
    return (template.get("spec") or {}).get("containers") or ()


def _length(value: object) -> int:
    """How many characters the words of a value have."""
    if isinstance(value, dict):
        return sum(len(name) + _length(each) for name, each in value.items())
    if isinstance(value, list):
        return sum(map(_length, value))
    return len(value) if isinstance(value, str) else 0


def _in_our_words(overlay: dict[str, Any]) -> Mapping[str, Any]:
    """With the proxy's container called as weft calls it, in the Deployment and in metrics of the autoscaler."""
    for each in _containers(overlay):
        each["name"] = PROXY
    for each in (overlay.get("spec") or {}).get("metrics") or ():
        measured = each.get("containerResource") or {}
        if measured.get("container") in PROXY_NAMES:
            measured["container"] = PROXY
    return overlay


def _two_say(overlays: Overlays) -> str | None:
    """That the number of pods is said twice, in words."""
    if overlays.get("horizontalPodAutoscaler") is None or replicas_of(overlays) is None:
        return None
    return "'spec.replicas' of deployment has no effect beside horizontalPodAutoscaler, which chooses the number"


def _at_reference(
    document: ParametersDocument, path: FieldPath, config_map: ConfigMapDocument, fault: Fault
) -> Problem:
    where = f"{config_map.key.namespace}/{config_map.key.name}"
    line = f" (line {fault.line} of the text)" if fault.line else ""
    message = f"ConfigMap {where}: {path_text(fault.path[1:])}: {fault.finding.message}{line}"
    finding = fault.finding
    return problem_at(document, path, INVALID_PARAMETERS, message, finding.expected, nearest=finding.nearest)


def _at_config_map(config_map: Document[object], fault: Fault) -> Problem:
    origin = config_map.at("data", fault.key)
    if origin.line and fault.line:
        origin = Origin(origin.source, origin.line + fault.line)
    return Problem(
        Severity.ERROR,
        INVALID_PARAMETERS,
        fault.finding.message,
        origin,
        config_map.key,
        fault.path,
        fault.finding.expected,
        fault.finding.nearest,
    )
