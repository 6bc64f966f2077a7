"""Whether the rules that a firewall prints are those of a pod's words: pure."""

from __future__ import annotations

import pytest

from weft.agent.cni.pods import has_proof
from weft.model.proof import proof_address

WORDS = ("--exclude-outbound-port=3306",)
ADDRESS = proof_address(WORDS)
NFT = "ip daddr {} tcp dport 15001 redirect to :15001\n"
IPTABLES = "-A WEFT-PROOF -d {}/32 -p tcp -m tcp --dport 15001 -j REDIRECT --to-ports 15001\n"


@pytest.mark.parametrize("line", [NFT, IPTABLES])
def test_rules_are_told_by_the_whole_of_an_address(line: str) -> None:
    assert has_proof(line.format(ADDRESS), WORDS)
    assert has_proof(line.format("127.0.0.2") + line.format(ADDRESS), WORDS)
    for other in (f"{ADDRESS}4", f"1{ADDRESS}", f"{ADDRESS}.1", ADDRESS.replace(".", "0")):
        assert not has_proof(line.format(other), WORDS), other
    assert not has_proof("", WORDS)
