"""Amazon's rating-only files: rows of user, item, rating and time without a header.

Those of 2014 (ratings_Books.csv) begin with the user, those of 2018 (Books.csv) with the item.
Which it is, ids tell.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ...checks import options
from .reading import Reading, Request
from .source import Source
from .text import read as read_text

__all__ = ["matches", "read"]

# A reviewer's id begins with A (some old ones with #oc-R), a product's is an ASIN or an ISBN-10.
_USER = r"(?:A[0-9A-Z]{9,27}|#oc-R[0-9A-Z]{9,20})"
_ITEM = r"(?:B[0-9A-Z]{9}|[0-9]{9}[0-9X])"
_REST = r",[0-9](?:\.[0-9]+)?,[0-9]{8,13}\r?"
_USER_FIRST = re.compile(f"{_USER},{_ITEM}{_REST}")
_ITEM_FIRST = re.compile(f"{_ITEM},{_USER}{_REST}")
_SAMPLED_ROWS = 2000
_CLEAR = 0.9


def matches(source: Source) -> bool:
    """Whether most rows hold a reviewer, a product, a rating and a time, in either order."""
    users_first, items_first, n_rows = _counts(source)
    return users_first + items_first > 0.5 * n_rows


def read(source: Source, request: Request) -> Reading:
    """Read a rating-only file of either order."""
    wanted, given = dict(request.wanted), request.text
    if wanted["user"] is None and wanted["item"] is None:
        wanted["user"], wanted["item"] = _positions(source)
        fixed = {"rating": 2, "timestamp": 3}
        wanted |= {r: at for r, at in fixed.items() if r in wanted and wanted[r] is None}
    text = replace(given, sep="," if given.sep is None else given.sep, header=bool(given.header))
    return read_text(source, replace(request, wanted=wanted, text=text), "amazon")


def _positions(source: Source) -> tuple[int, int]:
    """The columns of users and items."""
    users_first, items_first, n_rows = _counts(source)
    if users_first >= _CLEAR * n_rows:
        return 0, 1
    if items_first >= _CLEAR * n_rows:
        return 1, 0
    first, second = (*_rows(source)[0].split(","), "", "")[:2]
    raise ValueError(
        f"cannot tell users from items: of {n_rows:,} rows {users_first:,} look like user,item and "
        f"{items_first:,} like item,user (reviewers' ids begin with A, products' are ASINs or ISBNs). "
        f"In the first row, pass {options({'user': 0, 'item': 1})} if the user is {first!r:.40}, or "
        f"{options({'user': 1, 'item': 0})} if it is {second!r:.40}"
    )


def _counts(source: Source) -> tuple[int, int, int]:
    rows = _rows(source)
    users_first, items_first = (
        sum(look.fullmatch(row) is not None for row in rows) for look in (_USER_FIRST, _ITEM_FIRST)
    )
    return users_first, items_first, len(rows)


def _rows(source: Source) -> list[str]:
    text = source.head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    rows = text.split("\n") if source.is_whole else text.split("\n")[:-1]
    return [row for row in rows if row.strip()][:_SAMPLED_ROWS] or [text]
