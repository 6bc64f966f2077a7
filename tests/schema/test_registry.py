"""The kinds by the words people use, and the rows of the generated reference."""

from __future__ import annotations

import pytest

from weft.schema.catalogue import kind_description, kind_rows
from weft.schema.forms import FORMS
from weft.schema.plans import names_of
from weft.schema.registry import KINDS, Kind, UnknownKindError, find_kind, others_meant
from weft.schema.upstream import UNSUPPORTED_FIELDS, UNSUPPORTED_KINDS, UNSUPPORTED_VALUES


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("svc", "Service"),
        ("Services", "Service"),
        ("sa", "ServiceAccount"),
        ("NS", "Namespace"),
        ("secret", "Secret"),
        ("gc", "GatewayClass"),
        ("gw", "Gateway"),
        ("gateways.gateway.networking.k8s.io", "Gateway"),
        ("gateway.networking.istio.io", "Gateway"),
        ("httproutes", "HTTPRoute"),
        ("HTTPRoute", "HTTPRoute"),
        ("refgrant", "ReferenceGrant"),
        ("vs", "VirtualService"),
        ("dr", "DestinationRule"),
        ("pa", "PeerAuthentication"),
        ("meshconfig", "MeshConfig"),
        ("cm", "ConfigMap"),
    ],
)
def test_words_for_kinds(word: str, name: str) -> None:
    assert find_kind(word).name == name


def test_a_word_of_two_kinds_is_the_first_and_with_its_group_the_other() -> None:
    assert find_kind("gateways").group == "gateway.networking.k8s.io"
    assert find_kind("gateways.networking.istio.io").group == "networking.istio.io"


def test_an_unknown_word_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        UnknownKindError,
        match=r"no kind 'httprute' \(did you mean 'httproutes'\?\); kinds: authorizationpolicies, backendtls",
    ):
        find_kind("httprute")


def test_short_names_mean_one_kind_and_groups_tell_kinds_of_one_name_apart() -> None:
    words = [word for kind in KINDS for word in (kind.full_word, *kind.short_names)]
    assert len(words) == len(set(words))
    for kind in KINDS:
        assert find_kind(kind.word) is find_kind(kind.full_word) is find_kind(kind.plural_word) is kind
    assert len({kind.plural_word for kind in KINDS}) == len(KINDS)


def test_of_two_kinds_with_one_name_the_first_is_meant_and_the_other_is_told() -> None:
    assert find_kind("tcproutes").group == "gateway.networking.k8s.io"
    assert [kind.full_word for kind in others_meant("TCPRoute")] == ["tcproutes.specs.smi-spec.io"]
    assert find_kind("tcproute.specs.smi-spec.io").group == "specs.smi-spec.io"
    assert others_meant("tcproutes.specs.smi-spec.io") == others_meant("services") == others_meant("nothing") == ()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_can_be_described(kind: Kind) -> None:
    rows = list(kind_rows(kind))
    assert kind_description(kind)
    assert len({row.path for row in rows}) == len(rows)
    assert {row.path.rpartition(".")[2] for row in rows} >= set(names_of(kind.spec)) - {
        alias for plan in names_of(kind.spec).values() for alias in plan.aliases
    }
    assert kind.name_form in FORMS


def test_rows_say_type_default_and_choice() -> None:
    rows = {row.path: row for row in kind_rows(find_kind("httproute"))}
    assert rows["spec.rules[].backendRefs[].weight"].default == "1"
    assert rows["spec.rules[].backendRefs[].weight"].allowed == "0 to 1000000"
    assert rows["spec.rules[].matches[].path.type"].allowed == "Exact, PathPrefix, RegularExpression"
    assert rows["spec.rules[].timeouts.request"].type == "duration"
    assert rows["spec.parentRefs[].name"].required
    rows = {row.path: row for row in kind_rows(find_kind("virtualservice"))}
    assert rows["spec.http[].match[].uri.exact"].allowed == "not with prefix, regex"
    assert rows["spec.http[].match[].headers"].type == "mapping to object"
    assert "spec.http[].match[].headers.*.regex" in rows
    assert {row.path for row in kind_rows(find_kind("secret"))} == {"type", "data"}


def test_what_is_said_to_be_unsupported_is_not_supported() -> None:
    for cls, fields in UNSUPPORTED_FIELDS.items():
        assert not set(fields) & set(names_of(cls)), cls
    for (cls, field), values in UNSUPPORTED_VALUES.items():
        assert field in names_of(cls)
        assert values
    assert not set(UNSUPPORTED_KINDS) & {(kind.group, kind.name) for kind in KINDS}
