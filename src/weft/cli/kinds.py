"""Kinds as they are named on the command line."""

from __future__ import annotations

import click

from weft.schema.registry import Kind, UnknownKindError, find_kind


def kind_of_word(word: str, *others: str) -> Kind:
    """The kind a person means: name, plural or short name. UsageError with the nearest one, which also names `others`,
    words of the command that stand for no kind of document."""
    try:
        return find_kind(word)
    except UnknownKindError as error:
        raise click.UsageError(", ".join((str(error), *others))) from error
