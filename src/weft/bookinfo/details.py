"""The details service: facts about a book. ``python -m weft.bookinfo.details``."""

from __future__ import annotations

from weft.bookinfo.server import Request, Response, json_response, not_found, number_after, run_service


def respond(request: Request) -> Response:
    """``/details/<number>``."""
    number = number_after("/details/", request.path)
    if number is None:
        return not_found(request.path)
    return json_response(
        {
            "id": number,
            "author": "William Shakespeare",
            "year": 1595,
            "type": "paperback",
            "pages": 200,
            "publisher": "PublisherA",
            "language": "English",
            "ISBN-10": "1234567890",
            "ISBN-13": "123-1234567890",
        }
    )


if __name__ == "__main__":
    run_service("details", respond)
