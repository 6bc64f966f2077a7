"""The listener of the bootstrap by which captured connections enter: where there is one, and who knows the secret."""

from __future__ import annotations

import json
from dataclasses import replace

from weft.model.workload import SocketAddress
from weft.xds.bootstrap import BootstrapParameters, build_bootstrap

PLAIN = BootstrapParameters("a.default", "127.0.0.1:15010", "spiffe://cluster.local/weft/xds", "admin", "cluster.local")
LISTEN = (SocketAddress("127.0.0.1", 15001), SocketAddress("::1", 15001))


def test_a_proxy_without_capture_has_none_of_it() -> None:
    text = build_bootstrap(PLAIN)
    assert "listeners" not in json.loads(text)["static_resources"]
    assert "capture" not in text
    assert "user_space" not in text


def test_the_secret_is_in_the_matcher_and_in_nothing_that_is_shown() -> None:
    parameters = replace(PLAIN, capture=LISTEN, capture_secret="known to two")
    assert "known to two" not in repr(parameters)
    bootstrap = json.loads(build_bootstrap(parameters))
    (listener,) = bootstrap["static_resources"]["listeners"]
    tree = listener["filter_chain_matcher"]["matcher_tree"]
    assert list(tree["exact_match_map"]["map"]) == ['{"secret":"known to two"}']
    assert "default_filter_chain" not in listener
    assert "on_no_match" not in listener["filter_chain_matcher"]
    assert len(listener["additional_addresses"]) == 1
