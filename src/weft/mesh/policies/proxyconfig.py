"""ProxyConfig: with how many worker threads the proxies of some workloads are started, and whether they take HTTP/1.0.

https://istio.io/latest/docs/reference/config/networking/proxy-config/

Order of Istio: MeshConfig's defaultConfig, the root namespace's document, the namespace's, that of the workload.
Narrower goes over wider, field by field.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from weft.mesh.memo import Memo
from weft.mesh.policies.meshconfig import MeshWide
from weft.mesh.policies.scope import Breadth, Policy, applicable, scope_in, settle
from weft.mesh.problems import problem_at
from weft.mesh.services.workloads import workload_source
from weft.model.document import Document, ObjectKey
from weft.model.labels import labels_from_mapping
from weft.model.origin import FieldPath, Origin
from weft.model.problem import Problem, Severity
from weft.model.workload import ONE_WORKER, Workload
from weft.schema.kinds.proxyconfig import HTTP10, ProxyConfig, ProxyConfigSpec

ProxyDocument = Document[ProxyConfigSpec]
_SAYS_NOTHING = ProxyConfig()
_SHOWN = 5
"""How many workloads a Problem names."""
_STARTED = "its agent started again: the same `weft run` or `weft gateway`, or `weft restart`"


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Of one proxy: `workers` are its worker threads from its next start on (0: one for each core), `http10` says
    whether it takes HTTP/1.0."""

    workers: int = ONE_WORKER
    http10: bool = False


@dataclass(frozen=True, slots=True)
class _Said:
    """Where a document says something."""

    document: Document[object]
    path: FieldPath


@dataclass(frozen=True, slots=True, eq=False)
class ProxyConfigs:
    """All ProxyConfigs in force, oldest first, over what the MeshConfig says (`default`, at `path` of `document`).
    Compared by identity."""

    policies: tuple[Policy[ProxyConfigSpec], ...] = ()
    default: ProxyConfig = _SAYS_NOTHING
    document: Document[object] | None = None
    path: FieldPath = ()
    problems: tuple[Problem, ...] = ()

    @property
    def says_nothing(self) -> bool:
        """Whether every proxy is as it is without documents."""
        return not self.policies and self.default.concurrency is None and not self.default.proxy_metadata

    def of(self, workload: Workload) -> ProxySettings:
        """What holds for a workload's proxy."""
        if self.says_nothing:
            return _UNSAID
        workers, _ = self.workers(workload)
        variables = dict(self.default.proxy_metadata)
        for spec in reversed([policy.document.spec for policy in self._levels(workload)]):
            variables |= spec.environment_variables
        return ProxySettings(workers, variables.get(HTTP10) == "1")

    def workers(self, workload: Workload) -> tuple[int, _Said | None]:
        """With how many worker threads its proxy is to be started, and who says so."""
        for policy in self._levels(workload):
            if policy.document.spec.concurrency is not None:
                return policy.document.spec.concurrency, _Said(policy.document, ("spec", "concurrency"))
        if self.default.concurrency is not None and self.document is not None:
            return self.default.concurrency, _Said(self.document, (*self.path, "defaultConfig", "concurrency"))
        return ONE_WORKER, None

    def _levels(self, workload: Workload) -> Iterator[Policy[ProxyConfigSpec]]:
        return applicable(self.policies, workload.namespace, workload.labels)


_UNSAID = ProxySettings()


def build_proxy_configs(documents: tuple[ProxyDocument, ...], wide: MeshWide) -> ProxyConfigs:
    """The ProxyConfigs in force; of two for the same workloads the oldest is."""
    root = wide.settings.root_namespace
    given = [Policy(scope_in(each.key.namespace, root, _selector(each.spec)), each) for each in documents]
    expected = "one ProxyConfig for each selector of a namespace, and one without"
    settled, problems = settle(given, ("spec", "selector"), "policy-conflict", expected)
    return ProxyConfigs(settled, wide.spec.default_config, wide.document, wide.path, problems)


def _selector(spec: ProxyConfigSpec) -> tuple[tuple[str, str], ...]:
    return labels_from_mapping(spec.selector.match_labels) if spec.selector else ()


# -- what is told of workloads -----------------------------------------------------------------------------------------


def overlapping(configs: ProxyConfigs, workloads: tuple[Workload, ...]) -> tuple[Problem, ...]:
    """ProxyConfigs with another selector than an older one that selects some of the same workloads, which are its."""
    named = [policy for policy in configs.policies if policy.scope.breadth is Breadth.NAMED]
    found: dict[tuple[int, int], list[Workload]] = {}
    for workload in workloads if len(named) > 1 else ():
        indices = [index for index, policy in enumerate(named) if _covers(policy, workload)]
        for other in indices[1:]:
            found.setdefault((indices[0], other), []).append(workload)
    return tuple(_overlap(named[first], named[other], shared) for (first, other), shared in found.items())


def _covers(policy: Policy[ProxyConfigSpec], workload: Workload) -> bool:
    return policy.scope.covers(workload.namespace, workload.labels)


def _overlap(owner: Policy[ProxyConfigSpec], other: Policy[ProxyConfigSpec], shared: list[Workload]) -> Problem:
    document = owner.document
    message = f"{document.key} ({document.origin}) is older and selects {_names(shared)} too, so this one is not for it"
    expected = "selectors that do not meet"
    path: FieldPath = ("spec", "selector")
    return problem_at(other.document, path, "selectors-meet", message, expected, severity=Severity.WARNING)


def started_otherwise(memo: Memo, configs: ProxyConfigs, workloads: tuple[Workload, ...]) -> tuple[Problem, ...]:
    """Workloads whose proxies run with another number of worker threads than they will be started with next."""
    if configs.says_nothing:
        workloads = memo.groups(_many_workers, _name, workloads).get(True, ())
    rows = memo.rows(_otherwise, (workloads,), configs)
    later = [(each, *row) for each, row in zip(workloads, rows, strict=True) if row[0] != each.workers]
    alone = [_alone(workload, wanted) for workload, wanted, said in later if said is None]
    waiting: dict[ObjectKey, tuple[_Said, list[Workload]]] = {}
    for workload, _, said in later:
        if said is not None:
            waiting.setdefault(said.document.key, (said, []))[1].append(workload)
    return (*alone, *(_later(said, found) for said, found in waiting.values()))


def _otherwise(_memo: Memo, workload: Workload, configs: ProxyConfigs) -> tuple[int, _Said | None]:
    return configs.workers(workload)


def _many_workers(workload: Workload) -> tuple[bool, ...]:
    return (True,) if workload.workers != ONE_WORKER else ()


def _name(workload: Workload) -> tuple[str, str]:
    return (workload.namespace, workload.name)


def _later(said: _Said, workloads: list[Workload]) -> Problem:
    runs = "runs" if len(workloads) == 1 else "run"
    message = f"{_names(workloads)} {runs} with another number of worker threads until started again"
    return problem_at(said.document, said.path, "starts-later", message, _STARTED, severity=Severity.WARNING)


def _alone(workload: Workload, wanted: int) -> Problem:
    has = f"{workload.workers} worker threads" if workload.workers else "a worker thread for each core"
    message = f"its proxy runs with {has} until it is started again: no document asks for that any more"
    origin, path = Origin(workload_source(workload)), ("workers",)
    return Problem(Severity.WARNING, "starts-later", message, origin, None, path, f"{wanted}; {_STARTED}")


def _names(workloads: list[Workload]) -> str:
    names = [f"{each.namespace}/{each.name}" for each in workloads[:_SHOWN]]
    more = f" and {len(workloads) - _SHOWN} more" if len(workloads) > _SHOWN else ""
    return f"workload{'' if len(workloads) == 1 else 's'} {', '.join(names)}{more}"
