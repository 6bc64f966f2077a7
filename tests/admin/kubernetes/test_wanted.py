"""The status that objects should have, by values."""

from __future__ import annotations

from typing import Any

from support.meshdocs import documents
from weft.admin.context import Compiled
from weft.admin.kubernetes.wanted import Wanted
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity

CLASS = """
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: weft}
spec: {controllerName: weft.dev/gateway-controller}
"""


def accepted(*problems: Problem) -> Any:
    [document] = documents(CLASS)
    status = Wanted(Compiled(0, None), problems).of(document)
    assert status is not None
    [condition] = status["conditions"]
    return condition


def test_a_class_whose_parameters_cannot_be_is_not_accepted() -> None:
    assert accepted()["status"] == "True"
    [document] = documents(CLASS)
    text = "there is no ConfigMap system/usual"
    problem = Problem(
        Severity.ERROR, "invalid-parameters", text, Origin("f"), document.key, ("spec", "parametersRef"), "one"
    )
    condition = accepted(problem)
    assert (condition["status"], condition["reason"]) == ("False", "InvalidParameters")
    assert text in condition["message"]
