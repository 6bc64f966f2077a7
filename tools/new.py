"""Lay out the files of a new policy, route kind or filter, and register them: ``./run new policy RetryBudget``.

What is laid out passes the format, lint and type checks; `./run check` names each place that is still to be filled in.
The other stops are printed, from docs/contributing.md. Nothing that exists is overwritten.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYOUT = Path(__file__).resolve().parent / "layout"
FILL = "FILL" + " IN"
GROUPS = {
    "weft.dev": ("WEFT_GROUP", '("v1alpha1",)', "v1alpha1"),
    "gateway.networking.k8s.io": ("GATEWAY_GROUP", "_GATEWAY_VERSIONS", "v1"),
    "networking.istio.io": ("ISTIO_NETWORKING", "_NETWORKING_VERSIONS", "v1"),
    "security.istio.io": ("ISTIO_SECURITY", '("v1", "v1beta1")', "v1"),
}
"""API groups, with the words of schema/registry.py for their name and versions, and the version that is preferred."""
Values = Mapping[str, str]


class RefusedError(Exception):
    """Why nothing was laid out."""


@dataclass(frozen=True)
class Edit:
    """A line to put into a file before the first match of `before` (a regular expression)."""

    path: str
    before: str
    text: str


REGISTRY = "src/weft/schema/registry.py"
RULES = "src/weft/schema/rules/__init__.py"
UPSTREAM = "src/weft/schema/upstream.py"
BUILD = "src/weft/mesh/build.py"
MODEL = "src/weft/mesh/model.py"
ROUTE_KINDS = "src/weft/mesh/routes/kinds.py"
CHAIN = "src/weft/xds/filters/chain.py"
KIND_EDITS = (
    Edit(REGISTRY, r"^from weft\.schema\.others", "from weft.schema.kinds.@module@ import @Class@Spec\n"),
    Edit(
        REGISTRY,
        r"^\)\n\nKIND_NAMES",
        '    Kind("@Kind@", "@plural@", (), @group@, @versions@, @Class@Spec),\n',
    ),
    Edit(RULES, r"^from weft\.schema\.rules\.normal", "from weft.schema.rules import @module@\n"),
    Edit(RULES, r"^\}", "    **@module@.RULES,\n"),
)
EDITS = {
    "policy": (
        *KIND_EDITS,
        Edit(BUILD, r"^from weft\.model\.document", "from weft.schema.kinds.@module@ import @Class@Spec\n"),
        Edit(
            BUILD,
            r"^from weft\.mesh\.problems|^from weft\.mesh\.routes",
            "from weft.mesh.policies.@module@ import build_@names@\n",
        ),
        Edit(
            BUILD,
            r"^    routes = memo",
            "    @names@ = memo.over(build_@names@, _of(kinds, @Class@Spec), settings.root_namespace)\n",
        ),
        Edit(BUILD, r"^    told \+= _more", "    told.append(@names@.problems)\n"),
        Edit(BUILD, r"^        acceptance=", "        @names@=@names@,\n"),
        Edit(MODEL, r"^from weft\.mesh\.routes", "from weft.mesh.policies.@module@ import @Classes@\n"),
        Edit(MODEL, r"^    sidecars:", "    @names@: @Classes@\n"),
    ),
    "route": (
        *KIND_EDITS,
        Edit(ROUTE_KINDS, r"^from weft\.schema", "from weft.mesh.routes.@module@ import @Class@Kind\n"),
        Edit(ROUTE_KINDS, r"^from weft\.schema", "from weft.schema.kinds.@module@ import @Class@Spec\n"),
        Edit(ROUTE_KINDS, r"^    \}\n\)", "        @Class@Spec: @Class@Kind(),\n"),
    ),
    "filter": (
        Edit(CHAIN, r"^from weft\.xds\.messages", "from weft.xds.filters import @module@\n"),
        Edit(
            CHAIN,
            r"^    # Waits until the control plane",
            "    # @FILL@: why it stands here. An optional filter is only in chains that ask for it by name.\n"
            "    Filter(@module@.NAME, CALLING, @module@.listener_config, optional=True),\n",
        ),
    ),
}
SECTIONS = {"policy": "A policy", "route": "A kind of route", "filter": "A filter"}


def plural_of(word: str) -> str:
    """The plural of a kind's or a variable's name."""
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def kind_values(name: str, group: str) -> Values:
    """What is put into the layout of a kind. RefusedError if it cannot be called so."""
    if not re.fullmatch(r"(?:[A-Z][a-z0-9]*)+", name):
        raise RefusedError(f"'{name}' is no name of a kind; expected one like RetryBudget or TCPRoute")
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]+", name)
    class_name = "".join(word.capitalize() for word in words)
    variable = "_".join(word.lower() for word in words)
    constant, versions, preferred = GROUPS[group]
    return {
        "Kind": name,
        "plural": plural_of(name.lower()),
        "module": name.lower(),
        "Class": class_name,
        "Classes": plural_of(class_name),
        "name": variable,
        "names": plural_of(variable),
        "group": constant,
        "versions": versions,
        "apiVersion": f"{group}/{preferred}",
        "FILL": FILL,
    }


def filter_values(name: str) -> Values:
    """What is put into the layout of a filter, which is called as its Envoy extension is. RefusedError if there is
    none of that name."""
    package = f"envoy.extensions.filters.http.{name}.v3"
    try:
        found = [each.name for each in pkgutil.iter_modules(importlib.import_module(package).__path__)]
    except (ImportError, ValueError) as error:
        example = "buffer, rbac or local_ratelimit"
        raise RefusedError(f"Envoy's API has no {package}; expected a name like {example}") from error
    homes = {
        message: module
        for module in found
        if module.endswith("_pb2")
        for message in importlib.import_module(f"{package}.{module}").DESCRIPTOR.message_types_by_name
    }
    lower = {message.lower(): message for message in homes}
    message = lower[difflib.get_close_matches(name.replace("_", ""), lower, n=1, cutoff=0)[0]]
    package = f"{package}.{homes[message]}"
    return {"module": name, "words": name.replace("_", " "), "package": package, "Message": message, "FILL": FILL}


def filled(text: str, values: Values) -> str:
    """A layout's text with its ``@words@`` replaced."""
    return re.sub(r"@(\w+)@", lambda found: values[found[1]], text)


def supported(text: str, kind: str) -> str:
    """The text of schema/upstream.py without a kind that was refused by name until now."""

    def without(found: re.Match[str]) -> str:
        return f'"{" ".join(word for word in found[1].split() if word != kind)}"'

    text = re.sub(rf'"((?:\w+ )*{kind}(?: \w+)*)"', without, text)
    return re.sub(r'\n    \| _kinds\("[^"]*", ""(?:, [^)]*)?\)', "", text)


def lay_out(root: Path, what: str, values: Values) -> list[str]:
    """Write and register everything below `root`; the files, in order. RefusedError if one of them is there already."""
    contents: dict[str, str] = {}
    for layout in sorted((LAYOUT / what).rglob("*.txt")):
        path = filled(str(layout.relative_to(LAYOUT / what).with_suffix("")), values)
        if (root / path).exists():
            raise RefusedError(f"{path} is there already")
        contents[path] = filled(layout.read_text(encoding="utf-8"), values)
    if what != "filter":
        registry = (root / REGISTRY).read_text(encoding="utf-8")
        if re.search(rf'Kind\(\s*"{values["Kind"]}"', registry):
            raise RefusedError(f"there is a kind {values['Kind']} already")
        upstream = (root / UPSTREAM).read_text(encoding="utf-8")
        if (without := supported(upstream, values["Kind"])) != upstream:
            contents[UPSTREAM] = without
    for edit in EDITS[what]:
        text = contents.get(edit.path) or (root / edit.path).read_text(encoding="utf-8")
        found = re.search(edit.before, text, flags=re.M)
        if found is None:
            raise RefusedError(f"{edit.path} has nothing like {edit.before}: tools/new.py has to learn its new form")
        contents[edit.path] = text[: found.start()] + filled(edit.text, values) + text[found.start() :]
    for path, text in contents.items():
        (root / path).write_text(text, encoding="utf-8")
    for words in (("check", "--fix", "--select", "I"), ("format",)):
        subprocess.run([sys.executable, "-m", "ruff", *words, "--quiet", *contents], cwd=root, check=True)
    return list(contents)


def remaining_stops(page: str, what: str) -> str:
    """The stops of a section of docs/contributing.md that are not laid out."""
    section = page.partition(f"\n## {SECTIONS[what]}\n")[2].partition("\n## ")[0]
    stops = re.findall(r"^\d+\. (.*(?:\n   .*)*)", section, flags=re.M)
    return "\n".join(f"* {stop}" for stop in stops if "(laid out)" not in stop)


def main() -> int:
    """Lay out what the arguments name; the exit code."""
    parser = argparse.ArgumentParser(prog="./run new", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=tuple(EDITS))
    parser.add_argument("name", help="a kind (RetryBudget), or for a filter Envoy's name of it (local_ratelimit)")
    parser.add_argument("--group", choices=tuple(GROUPS), help="the API group of the kind")
    given = parser.parse_args()
    group = given.group or ("gateway.networking.k8s.io" if given.what == "route" else "weft.dev")
    try:
        values = filter_values(given.name) if given.what == "filter" else kind_values(given.name, group)
        files = lay_out(ROOT, given.what, values)
    except RefusedError as error:
        print(f"new: {error}", file=sys.stderr)
        return 1
    print("\n".join(f"laid out: {path}" for path in files))
    print(f"\n`./run check` names what is to be filled in there ({FILL}). What remains, from docs/contributing.md:\n")
    print(remaining_stops((ROOT / "docs" / "contributing.md").read_text(encoding="utf-8"), given.what))
    return 0


if __name__ == "__main__":
    sys.exit(main())
