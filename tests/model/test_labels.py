"""Labels that a gateway's process has of itself."""

from __future__ import annotations

from weft.model.labels import gateway_labels, selects

NAMED = ("gateway.networking.k8s.io/gateway-name", "istio.io/gateway-name")


def test_policies_find_the_process_of_a_gateway_by_its_name() -> None:
    labels = gateway_labels("bookinfo-gateway", (("team", "blue"),))
    assert all(selects(((name, "bookinfo-gateway"),), labels) for name in NAMED)
    assert selects((("istio", "bookinfo-gateway"), ("team", "blue")), labels)


def test_what_is_given_is_not_changed_and_no_label_is_too_long() -> None:
    assert dict(gateway_labels("a", ((NAMED[0], "b"), ("istio", "c")))) == {NAMED[0]: "b", NAMED[1]: "a", "istio": "c"}
    assert set(dict(gateway_labels("x" * 64, ()))) == {"istio"}


def test_the_labels_of_istios_charts() -> None:
    assert {"app": "istio-ingressgateway", "istio": "ingressgateway"}.items() <= dict(
        gateway_labels("istio-ingressgateway", ())
    ).items()
