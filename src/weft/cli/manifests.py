"""Manifests of Kubernetes as commands read and write them: every document, in its order, whatever kind it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from weft.cli.failure import FailedError
from weft.inject.names import Json
from weft.local.client import Source
from weft.model.origin import FieldLines
from weft.model.problem import Problem, problem_mapping
from weft.schema.yaml_nodes import field_lines, parse_documents, plain_value

_PLAIN = re.compile(r"[A-Za-z_/](?:[-A-Za-z0-9_./=+@]|:(?=[^:]))*|[0-9]+(?:m|[KMGT]i)")
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
"""What a reader of YAML 1.1 takes for something else than text."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One document, with the lines of its fields."""

    value: Json
    lines: FieldLines

    def with_value(self, value: Json) -> Manifest:
        """The same document with another value."""
        return replace(self, value=value)


def read_manifests(sources: Sequence[Source]) -> list[Manifest]:
    """Every document of `sources`. FailedError if one cannot be read; what is wrong was printed."""
    from weft.cli.output import print_problems

    found: list[Manifest] = []
    problems: list[Problem] = []
    for source in sources:
        for document in parse_documents(source.text, source.name):
            problems += document.problems
            value = plain_value(document.root) if document.root is not None else None
            if document.root is not None and isinstance(value, dict):
                found.append(Manifest(value, field_lines(document.root, source.name)))
            elif document.root is not None:
                raise FailedError(f"{source.name}:{document.root.line}: this is no object of Kubernetes")
    if problems:
        print_problems(problem_mapping(problem) for problem in problems)
        raise FailedError()
    return found


def print_manifests(values: Iterable[Json], form: str) -> None:
    """Documents on stdout, as YAML or as JSON: there several are one List, which kubectl takes."""
    documents = list(values)
    if form == "yaml":
        click.echo("---\n".join(_yaml_text(each) for each in documents), nl=False)
        return
    one = documents[0] if len(documents) == 1 else {"apiVersion": "v1", "kind": "List", "items": documents}
    click.echo(json.dumps(one, indent=2, ensure_ascii=False))


def _yaml_text(value: Json) -> str:
    """In the order in which it stands; texts that some reader might take for a number or a truth value in quotes."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """With a style of its own for texts, and without aliases."""

        def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
            super().increase_indent(flow, False)

    def text(dumper: yaml.SafeDumper, given: str) -> yaml.ScalarNode:
        plain = _PLAIN.fullmatch(given) is not None and given.lower() not in _WORDS
        quotes = "'" if '"' in given else '"'
        style: Any = None if plain else "|" if "\n" in given else quotes
        return dumper.represent_scalar("tag:yaml.org,2002:str", given, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=False)
