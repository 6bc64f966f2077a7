"""Codes of imports, which are registries whose services the mesh has beside its own, and of probes of instances."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, warning

IMPORTS = (
    error(
        1580,
        "import-unread",
        "A registry that is imported was never read, so none of its services is there.",
        "consul at https://consul.example:8501 cannot be read since 2026-11-26T10:00:00.000Z: it answers 403: give a "
        "token_file; it was never read",
        "The message says why. The address, the token and the roots are said by --import or --imports of weft serve.",
    ),
    warning(
        1581,
        "import-outdated",
        "A registry that is imported cannot be read now, or says that it has lost everything. What was read last stays "
        "in force, also over a restart.",
        "consul at https://consul.example:8501 cannot be read since 2026-11-26T10:00:00.000Z: its servers have no "
        "leader; what was read last stays in force",
        "See whether the registry is up, and whether the control plane reaches it.",
    ),
    warning(
        1582,
        "import-left-out",
        "A service or an instance of a registry is not imported: its name or address cannot be used here, or there are "
        "too many.",
        "instance 'n1/web-1' of 'web': 127.0.0.1 is each caller's own (networks=127.0.0.0/8 allows it)",
        "Correct what is registered, or say in `networks` of the import where instances may be, in `services` which "
        "are wanted.",
    ),
    warning(
        1583,
        "probe-not-asked",
        "A WorkloadEntry names a WorkloadGroup as whose probe says it is to be asked for its health, and it is not "
        "asked. It is called as if it were healthy.",
        "its health is not asked for: weft serve was started without --probe-network",
        "Name the network of its address with --probe-network of weft serve; correct the name of the group.",
    ),
    warning(
        1584,
        "probe-none-passes",
        "None of the instances of a WorkloadGroup passes its probe, so they are called as if nobody had asked: rather "
        "the probe is wrong, or the way from the control plane to them, than all of them.",
        "none of its 3 instances passes the probe, so all of them are called, as if nobody had asked",
        "Correct the probe, or open the way from the control plane's host to the instances.",
    ),
)
