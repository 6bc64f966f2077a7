"""A PeerAuthentication that cannot be understood closes what it names, and never opens anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.meshdocs import Compiled, service, workload
from weft.mesh.policies.peerauthentication import changes_mode, peer_policies_of
from weft.mesh.services.service import MutualTlsMode
from weft.model.document import Document
from weft.model.unreadable import Unreadable
from weft.schema.decode import decode_documents

WEB = service("web", 80)
SERVER = workload("web", port=80)


def peer(spec: str, name: str = "a", namespace: str = "default") -> tuple[Document[object], ...]:
    """A PeerAuthentication, understood or not."""
    text = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
    text += f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"
    return decode_documents(text, f"{name}.yaml").documents


def mode(*documents: tuple[Document[object], ...]) -> tuple[str, list[str]]:
    mesh = Compiled(WEB, *documents, workloads=[SERVER])
    (port,) = mesh.sidecar(SERVER).inbound
    return str(port.mode), mesh.codes


OPEN = peer("mtls: {mode: DISABLE}", "space")
OPEN_WEB = peer("selector: {matchLabels: {app: web}}, mtls: {mode: DISABLE}", "web")
WRONG = "mtls: {mode: STRIKT}"


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([OPEN, peer(f"selector: {{matchLabels: {{app: web}}}}, {WRONG}")], "strict"),
        ([OPEN, peer(f"selector: {{matchLabels: {{app: other}}}}, {WRONG}")], "disable"),
        # Of the same scope, it wins, whatever its name and age.
        ([OPEN, peer(WRONG, "z")], "strict"),
        ([OPEN_WEB, peer(f"selector: {{matchLabels: {{app: web}}}}, {WRONG}", "z")], "strict"),
        # Where its scope is known, what is narrower stays an exception.
        ([OPEN_WEB, peer(WRONG)], "disable"),
        ([OPEN_WEB, peer(WRONG, namespace="istio-system")], "disable"),
        ([OPEN, peer(WRONG, namespace="other")], "disable"),
        # Where it is not, nothing is.
        ([OPEN_WEB, peer(f"selector: {{matchLabel: {{app: web}}}}, {WRONG}")], "strict"),
        ([OPEN_WEB, peer(f"selecter: {{matchLabels: {{app: web}}}}, {WRONG}")], "strict"),
        ([OPEN_WEB, peer(f"selector: [app], {WRONG}")], "strict"),
        ([OPEN_WEB, peer(f"selector: [app], {WRONG}", namespace="istio-system")], "disable"),
    ],
)
def test_it_closes_what_it_names(documents: list[tuple[Document[object], ...]], expected: str) -> None:
    found, codes = mode(*documents)
    assert found == expected
    assert "policy-unreadable" in codes


def test_in_the_root_namespace_it_is_about_the_whole_mesh() -> None:
    assert mode(peer("mtls: {mode: DISABLE}", namespace="istio-system"))[0] == "disable"
    assert (
        mode(peer("mtls: {mode: DISABLE}", namespace="istio-system"), peer(WRONG, "z", "istio-system"))[0] == "strict"
    )


def test_the_change_of_mode_it_makes_is_made_in_steps_like_any_other() -> None:
    before = peer_policies_of(OPEN, "istio-system")
    after = peer_policies_of((*OPEN, *peer(WRONG, "z")), "istio-system")
    assert changes_mode(before, after, [SERVER])
    assert after.of("default").mode(SERVER.labels, 80) is MutualTlsMode.STRICT


def test_workloads_of_namespaces_without_a_change_are_not_looked_at() -> None:
    before = peer_policies_of(OPEN, "istio-system")
    after = peer_policies_of((*OPEN, *peer(WRONG, "z")), "istio-system")
    elsewhere = replace(SERVER, namespace="elsewhere")
    assert not changes_mode(before, after, [elsewhere, replace(elsewhere, ports=None)])  # type: ignore[arg-type]
    assert changes_mode(before, after, [elsewhere, SERVER])


def test_what_is_told_says_what_happens() -> None:
    (document,) = peer(WRONG)
    assert isinstance(document.spec, Unreadable)
    (problem,) = Compiled([document]).mesh.problems
    assert str(problem).startswith(
        "a.yaml:1: error: it cannot be understood, so the workloads it selects accept mutual"
    )
