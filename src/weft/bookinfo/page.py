"""The HTML of the product page, with its style sheet inside."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="#7a4b2a" '
    'd="M5 2h13a1 1 0 0 1 1 1v18H6a2 2 0 0 1-2-2V3a1 1 0 0 1 1-1z"/>'
    '<path fill="#fff" d="M7 5h9v2H7zm0 4h9v2H7z"/></svg>'
)
_STYLE = """
:root{color-scheme:light dark;--ink:#26211c;--soft:#6d6358;--paper:#fbf8f3;--card:#fff;--line:#e6ddd0;--accent:#7a4b2a}
@media(prefers-color-scheme:dark){:root{--ink:#ece5da;--soft:#a99d8e;--paper:#1b1815;--card:#25211d;--line:#3a332c;
--accent:#d8a47a}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.6 system-ui,sans-serif}
header{display:flex;gap:1rem;align-items:center;justify-content:space-between;padding:.8rem 1.5rem;
border-bottom:1px solid var(--line);background:var(--card)}header a{color:inherit;text-decoration:none;font-weight:600}
main{max-width:60rem;margin:0 auto;padding:1.5rem}h1{font:600 2.2rem/1.2 Georgia,serif;margin:.5rem 0}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(18rem,1fr));gap:1.5rem;margin-top:1.5rem}
section{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:1.2rem 1.4rem}
h2{margin:0 0 .6rem;font-size:1.1rem}dl{display:grid;grid-template-columns:auto 1fr;gap:.3rem 1rem;margin:0}
dt{color:var(--soft)}dd{margin:0}blockquote{margin:0 0 1rem;padding:0 0 0 .9rem;border-left:3px solid var(--line)}
blockquote p{margin:0}.soft{color:var(--soft)}.stars{letter-spacing:.15em;font-size:1.2rem}
.stars.black{color:var(--ink)}.stars.red{color:#d0342c}.error{color:#b3261e;font-weight:600}
form{display:flex;gap:.5rem;margin:0}input,button{font:inherit;padding:.25rem .6rem;border:1px solid var(--line);
border-radius:.4rem;background:var(--paper);color:inherit}button{background:var(--accent);color:#fff;border:0}
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What a service said: its status, its JSON object (with ``error`` when it failed), and its version if told."""

    status: int
    value: Mapping[str, object]
    version: str = ""


def _frame(title: str, user: str, body: str) -> str:
    if user:
        sign = f'<span>{html.escape(user)} · <a href="/logout">sign out</a></span>'
    else:
        sign = (
            '<form method="post" action="/login"><input name="username" placeholder="jason" aria-label="user name" '
            'required pattern="[A-Za-z0-9._@\\-]{1,64}"><button>sign in</button></form>'
        )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<link rel="icon" href="/static/favicon.svg"><style>{_STYLE}</style></head>'
        f'<body><header><a href="/productpage">BookInfo</a>{sign}</header><main>{body}</main></body></html>\n'
    )


def _details(details: Found) -> str:
    if details.status != 200:
        return _error("Book details", details)
    rows = "".join(
        f"<dt>{html.escape(label)}</dt><dd>{html.escape(str(details.value.get(key, '')))}</dd>"
        for label, key in (
            ("Author", "author"),
            ("Year", "year"),
            ("Type", "type"),
            ("Pages", "pages"),
            ("Publisher", "publisher"),
            ("Language", "language"),
            ("ISBN-10", "ISBN-10"),
            ("ISBN-13", "ISBN-13"),
        )
    )
    return f'<section id="details"><h2>Book details</h2><dl>{rows}</dl></section>'


def _stars(rating: object) -> str:
    if not isinstance(rating, Mapping):
        return ""
    if "error" in rating:
        return f'<p class="error">{html.escape(str(rating["error"]))}</p>'
    stars = rating.get("stars")
    count = min(max(stars, 0), 5) if isinstance(stars, int) else 0
    color = "red" if rating.get("color") == "red" else "black"
    return f'<p class="stars {color}" title="{count} of 5 stars">{"★" * count}{"☆" * (5 - count)}</p>'


def _reviews(reviews: Found) -> str:
    if reviews.status != 200:
        return _error("Book reviews", reviews)
    listed = reviews.value.get("reviews")
    quotes = "".join(
        f"<blockquote><p>{html.escape(str(review.get('text', '')))}</p>"
        f'<p class="soft">— {html.escape(str(review.get("reviewer", "")))}</p>'
        f"{_stars(review.get('rating'))}</blockquote>"
        for review in (listed if isinstance(listed, list) else [])
        if isinstance(review, Mapping)
    )
    pod = str(reviews.value.get("podname", ""))
    return (
        f'<section id="reviews" data-version="{html.escape(reviews.version, quote=True)}"><h2>Book reviews</h2>{quotes}'
        f'<p class="soft">Reviews served by: <b>{html.escape(pod)}</b></p></section>'
    )


def _error(title: str, found: Found) -> str:
    return (
        f'<section><h2>{title}</h2><p class="error">Error fetching {title.lower().split()[-1]}!</p>'
        f"<p>{html.escape(str(found.value.get('error', '')))}</p></section>"
    )


def product_page(product: Mapping[str, object], details: Found, reviews: Found, user: str) -> str:
    """The page of one product. `descriptionHtml` is trusted, everything else is escaped."""
    title = str(product["title"])
    return _frame(
        f"{title} · BookInfo",
        user,
        f'<h1>{html.escape(title)}</h1><p>{product["descriptionHtml"]}</p><div class="columns">'
        f"{_details(details)}{_reviews(reviews)}</div>",
    )


def index_page(user: str) -> str:
    """The first page."""
    return _frame("BookInfo", user, '<h1>BookInfo</h1><p><a href="/productpage">The product page</a></p>')
