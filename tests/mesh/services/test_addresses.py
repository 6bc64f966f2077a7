"""Virtual addresses: who wants one, who has which for good, and what documents say that is another's."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.meshdocs import Compiled, documents, service
from weft.mesh.memo import Memo
from weft.mesh.services.addresses import REST_SECONDS, Kept, assign, given_numbers, wanting
from weft.model.names import USUAL_RANGES, AddressRanges, Network4, Network6
from weft.model.origin import path_text
from weft.schema.decode import decode_documents

SIZE = USUAL_RANGES.size
NAMES = [f"Service/default/s{number}" for number in range(40)]
ENTRY = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: default}
spec:
  hosts: [api.example.com, "*.wild.example.com"]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.1.1.1}]
"""


def test_the_pair_of_a_number_lies_at_the_same_place_of_both_ranges() -> None:
    assert USUAL_RANGES.pair(258) == ("240.240.1.2", "fd77:6566:7400::102")
    assert [USUAL_RANGES.number(each) for each in USUAL_RANGES.pair(258)] == [258, 258]
    assert USUAL_RANGES.pair(0) == USUAL_RANGES.pair(SIZE + 1) == ()
    assert USUAL_RANGES.number("240.240.255.255") == USUAL_RANGES.number("10.0.0.1") == 0


def test_what_has_no_address_wants_one_and_what_is_led_by_its_callers_does_not() -> None:
    texts = (
        service("plain"),
        service("given", extra="  clusterIP: 10.1.2.3\n"),
        service("headless", extra="  clusterIP: None\n"),
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: alias}\n"
        "spec: {type: ExternalName, externalName: a.example}",
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: outside}\n"
        "spec: {type: ExternalName, externalName: a.example, ports: [{port: 80, name: http}]}",
        ENTRY,
        ENTRY.replace("name: api", "name: own").replace("  hosts: [api", "  addresses: [10.7.0.1]\n  hosts: [own"),
        ENTRY.replace("name: api", "name: none").replace("api.", "none.").replace("STATIC", "NONE")
        .replace("  endpoints: [{address: 10.1.1.1}]\n", ""),
    )  # fmt: skip
    found = [each for text in texts for each in documents(text)]
    assert sorted(wanting(found)) == [
        "Service/default/outside",
        "Service/default/plain",
        "ServiceEntry/default/api/*.wild.example.com",
        "ServiceEntry/default/api/api.example.com",
        "ServiceEntry/default/own/*.wild.example.com",
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), max_size=60), st.randoms(use_true_random=False))
def test_nobody_is_moved_by_who_comes_and_goes(steps: list[tuple[str, bool]], chance: random.Random) -> None:
    wanted: set[str] = set()
    kept: dict[str, Kept] = {}
    for moment, (name, comes) in enumerate(steps):
        (wanted.add if comes else wanted.discard)(name)
        before = kept
        kept, unplaced = assign(before, chance.sample(sorted(wanted), len(wanted)), frozenset(), 61, float(moment))
        assert not unplaced
        assert all(kept[each].number == before[each].number for each in before)
        numbers = [each.number for each in kept.values()]
        assert len(set(numbers)) == len(numbers)
        assert all(1 <= number <= 61 for number in numbers)
        assert {each for each in kept if not kept[each].gone} == wanted


@settings(deadline=None)
@given(st.permutations(documents(service("a") + service("b") + service("c", namespace="x") + ENTRY)))
def test_the_order_of_documents_does_not_matter(shuffled: list[object]) -> None:
    found = wanting(shuffled)  # type: ignore[arg-type]
    assert found == wanting(documents(service("a") + service("b") + service("c", namespace="x") + ENTRY))


def test_a_mesh_that_is_built_anew_is_numbered_alike_but_for_collisions() -> None:
    alone = {name: assign({}, [name], frozenset(), SIZE, 1.0)[0][name].number for name in NAMES}
    together = {name: each.number for name, each in assign({}, NAMES, frozenset(), SIZE, 1.0)[0].items()}
    assert alone == together


def test_of_two_that_would_have_the_same_number_the_older_has_it() -> None:
    first, second = (assign({}, [one, other], frozenset(), 1, 1.0) for one, other in (NAMES[:2], NAMES[1::-1]))
    assert first == ({NAMES[0]: Kept(1)}, (NAMES[1],))
    assert second == ({NAMES[1]: Kept(1)}, (NAMES[0],))


def test_the_number_of_who_is_gone_rests_and_is_used_again_only_where_there_is_no_other() -> None:
    kept, _ = assign({}, NAMES[:2], frozenset(), 2, 100.0)
    kept, _ = assign(kept, NAMES[1:2], frozenset(), 2, 200.0)
    assert kept[NAMES[0]].gone == 200.0
    early, unplaced = assign(kept, NAMES[1:3], frozenset(), 2, 200.0 + REST_SECONDS - 1)
    assert unplaced == (NAMES[2],)
    late, unplaced = assign(early, NAMES[1:3], frozenset(), 2, 200.0 + REST_SECONDS)
    assert not unplaced
    assert late[NAMES[2]].number == kept[NAMES[0]].number
    assert NAMES[0] not in late


def test_who_comes_back_has_the_number_of_before() -> None:
    kept, _ = assign({}, NAMES, frozenset(), SIZE, 1.0)
    gone, _ = assign(kept, [], frozenset(), SIZE, 2.0)
    back, _ = assign(gone, NAMES, frozenset(), SIZE, 10 * REST_SECONDS)
    assert back == kept


def test_a_smaller_range_moves_only_what_lies_outside_of_it() -> None:
    kept = {NAMES[0]: Kept(3), NAMES[1]: Kept(50)}
    smaller, unplaced = assign(kept, NAMES[:2], frozenset(), 10, 1.0)
    assert not unplaced
    assert smaller[NAMES[0]].number == 3
    assert 1 <= smaller[NAMES[1]].number <= 10


def test_numbers_of_addresses_that_documents_give_are_taken() -> None:
    ranges = AddressRanges(Network4("10.1.0.0/28"), Network6("fd00::/64"))
    text = service("mine", extra="  clusterIP: 10.1.0.3\n") + ENTRY.replace("spec:", "spec:\n  addresses: [fd00::5]")
    taken = given_numbers(documents(text), ranges) - {0}
    assert taken == {3, 5}
    kept, unplaced = assign({}, NAMES[:14], taken, ranges.size, 1.0)
    assert len(unplaced) == 2
    assert not taken & {each.number for each in kept.values()}


def test_a_full_range_is_said_at_once_however_many_find_no_room() -> None:
    many = [f"Service/default/m{number}" for number in range(30_000)]
    _, unplaced = assign({}, many, frozenset(), 60, 1.0)
    assert len(unplaced) == len(many) - 60


def test_services_have_the_addresses_that_documents_give_or_those_of_their_numbers() -> None:
    mesh = Compiled(
        service("plain"),
        service("given", extra="  clusterIP: 10.1.2.3\n"),
        service("none", extra="  clusterIP: None\n"),
        ENTRY,
        numbers={"Service/default/plain": 1, "Service/default/given": 2, "ServiceEntry/default/api/api.example.com": 3},
    ).mesh  # fmt: skip
    suffix = "default.svc.cluster.local"
    assert mesh.addresses.of(f"plain.{suffix}").addresses == ("240.240.0.1", "fd77:6566:7400::1")
    assert mesh.addresses.of(f"given.{suffix}").addresses == ("10.1.2.3",)
    assert mesh.addresses.of(f"none.{suffix}").headless
    assert mesh.addresses.of("api.example.com").addresses == ("240.240.0.3", "fd77:6566:7400::3")
    assert mesh.addresses.of("*.wild.example.com").addresses == ()  # it has no number yet
    assert mesh.addresses.headless == (f"none.{suffix}",)


def test_a_mesh_config_says_from_which_ranges() -> None:
    config = """
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {name: default, namespace: istio-system}
spec: {serviceAddresses: {ipv4: 198.18.0.0/15, ipv6: "2001:db8::/64"}}
"""
    mesh = Compiled(service("plain"), config, numbers={"Service/default/plain": 258}).mesh
    assert mesh.addresses.of("plain.default.svc.cluster.local").addresses == ("198.18.1.2", "2001:db8::102")


def test_an_address_that_another_service_has_is_told_at_the_younger_document() -> None:
    own = "  clusterIP: 240.240.0.9\n"
    mesh = Compiled(
        (replace(each, created=2.0) for each in documents(service("young", extra=own), "young.yaml")),
        (replace(each, created=1.0) for each in documents(service("old", extra=own), "old.yaml")),
    ).mesh
    told = [problem for problem in mesh.problems if problem.code == "address-conflict"]
    assert [str(problem.object) for problem in told] == ["Service default/young"]
    assert "Service default/old has the address 240.240.0.9, too" in told[0].message


def test_an_address_that_weft_has_given_to_another_is_told() -> None:
    mesh = Compiled(
        service("young", extra="  clusterIP: 240.240.0.9\n") + service("a"), numbers={"Service/default/a": 9}
    )
    assert mesh.codes.count("address-conflict") == 1


def test_two_private_entries_may_have_one_address() -> None:
    def entry(namespace: str) -> str:
        text = ENTRY.replace("namespace: default", f"namespace: {namespace}").replace("api.", f"{namespace}.")
        return text.replace("spec:", "spec:\n  addresses: [10.7.0.1]\n  exportTo: ['.']").replace(
            ', "*.wild.example.com"', ""
        )

    assert "address-conflict" not in Compiled(entry("a"), entry("b")).codes


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("ipv4: fd00::/64", "spec.serviceAddresses.ipv4"),
        ("ipv4: 127.0.0.0/8", "spec.serviceAddresses.ipv4"),
        ("ipv4: 224.0.0.0/8", "spec.serviceAddresses.ipv4"),
        ("ipv4: 10.0.0.0/29", "spec.serviceAddresses.ipv4"),
        ("ipv4: 10.0.0.0/7", "spec.serviceAddresses.ipv4"),
        ("ipv6: 10.0.0.0/16", "spec.serviceAddresses.ipv6"),
        ("ipv6: 'fe80::/64'", "spec.serviceAddresses.ipv6"),
        ("ipv6: 'fd00::/120'", "spec.serviceAddresses.ipv6"),
    ],
)
def test_ranges_that_no_program_calls_are_refused_at_their_field(spec: str, path: str) -> None:
    text = f"""
apiVersion: weft.dev/v1alpha1
kind: MeshConfig
metadata: {{name: default, namespace: istio-system}}
spec: {{serviceAddresses: {{{spec}}}}}
"""
    problems = decode_documents(text, "mesh.yaml").problems
    assert [path_text(problem.path) for problem in problems] == [path]


def test_addresses_stay_the_same_object_while_nothing_of_theirs_changes() -> None:
    memo = Memo()
    first = Compiled(service("a"), memo=memo, numbers={"Service/default/a": 1})
    memo.end()
    again = Compiled(first.documents, memo=memo)
    assert again.mesh.addresses is not first.mesh.addresses  # it has no number any more
    assert again.mesh.addresses.of("a.default.svc.cluster.local").addresses == ()
