"""Codes of EnvoyFilter: what a real Envoy said to patches."""

from __future__ import annotations

from weft.findings.catalogue.entry import error, note, warning

PATCHES = (
    error(
        1560,
        "patch-refused",
        "An Envoy beside the control plane was asked what it thinks of the configuration that an EnvoyFilter comes to, "
        "and does not take it; or a value is no message of Envoy's API. The last text of it that Envoy took stays in "
        "force, if there is one; where Envoy takes it on some proxies and not on those that came later, it is in force "
        "on the former.",
        "Envoy does not take what it comes to, so nothing of it is in force: HttpFilter: Message type ... has no field "
        "named 'default_sauce'",
        "Mend the value: its fields are those of Envoy's API at the version that `weft version` names.",
    ),
    note(
        1561,
        "patch-not-tried",
        "An EnvoyFilter is in force once it was tried on a real Envoy, with what a proxy that it is for has. One that "
        "was changed leaves the text before it in force until then.",
        "no proxy that it is for is there yet, or it is being tried on an Envoy; until then it is not in force",
        "Wait a moment, or start a workload that its workloadSelector selects.",
    ),
    warning(
        1562,
        "patch-matches-nothing",
        "None of the proxies on which an EnvoyFilter was tried has anything that a patch of it is about.",
        "no HTTP_FILTER of the proxies that it was tried on matches, so this patch changes nothing",
        "`weft proxy config WORKLOAD listeners` shows names and ports; those of other meshes may be different ones.",
    ),
    warning(
        1563,
        "not-patched",
        "One Envoy carries the workload with others (`proxy: shared`, `weft host`). A patch says anything at all, and "
        "there it could use the keys of the others, so EnvoyFilters change nothing for it.",
        "EnvoyFilters that select it have no effect: one Envoy carries it with other workloads, whose keys a patch "
        "could use",
        "Give the workload a proxy of its own (`proxy: sidecar`), or let no EnvoyFilter select it.",
    ),
)
