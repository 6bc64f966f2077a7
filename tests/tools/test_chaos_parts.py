"""What a page lacks is seen, although it is a 200."""

from __future__ import annotations

import json

import pytest
from chaos.journal import Failure, Journal
from chaos.load import details_fault, page_fault, page_version, ratings_fault, reviews_fault

from weft.bookinfo.page import Found, product_page
from weft.bookinfo.productpage import PRODUCT

DETAILS = Found(200, {"author": "William Shakespeare", "ISBN-13": "123-1234567890"})
GONE = Found(503, {"error": "Sorry"})
NO_STARS: dict[str, object] = {"error": "Ratings service is currently unavailable"}


def reviews(version: str, rating: dict[str, object] | None = None, count: int = 2) -> Found:
    each = {"reviewer": "R", "text": "T"} | ({"rating": rating} if rating else {})
    return Found(200, {"podname": "p", "reviews": [each] * count}, version)


STARS: dict[str, object] = {"stars": 4, "color": "red"}


@pytest.mark.parametrize(
    ("details", "found", "fault"),
    [
        (DETAILS, reviews("v1"), ""),
        (DETAILS, reviews("v3", STARS), ""),
        (GONE, reviews("v3", STARS), "without details"),
        (DETAILS, GONE, "without reviews"),
        (DETAILS, reviews("v2", NO_STARS), "reviews v2 with 0 ratings of 2"),
        (DETAILS, reviews("v2", STARS, 1), "with 1 reviews of 2"),
    ],
)
def test_a_page_is_whole_or_not(details: Found, found: Found, fault: str) -> None:
    page = product_page(PRODUCT, details, found, "")
    assert page_fault(page) == fault
    assert page_version(page) == found.version


def test_answers_of_callees() -> None:
    assert not details_fault(json.dumps(DETAILS.value))
    assert details_fault("{}")
    assert not reviews_fault(json.dumps(reviews("v3", STARS).value))
    assert reviews_fault(json.dumps(reviews("v3", NO_STARS).value))
    assert not ratings_fault('{"ratings": {"a": 1, "b": 2}}')
    assert ratings_fault('{"ratings": {"a": 1}}')


def test_a_failure_is_told_with_what_went_on() -> None:
    journal = Journal()
    with pytest.raises(ValueError, match="no"), journal.act("edits", "route of reviews"):
        raise ValueError("no")
    with journal.act("agents", "kill -9"):
        pass
    when = journal.acts[0].begun
    text = journal.told(Failure(when, when + 0.5, "page", "without reviews"))
    assert "without reviews" in text
    assert "edits: route of reviews did not work: no" in text
    assert "agents: kill -9" in text
    assert journal.done == {"agents": 1}
    assert "kill" not in journal.told(Failure(when + 100, when + 101, "page", "late"))
