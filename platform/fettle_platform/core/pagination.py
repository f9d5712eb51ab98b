"""Cursor pages as the official client walks them.

Usage: `Response(paginate(request, selectors.job_list(request.auth), job_to_wire, default_limit=20, max_limit=100))`
and `parameters=page_parameters(20, 100)` in the view's `extend_schema`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.db.models import Model, Q, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from fettle_platform.core.errors import InvalidRequest

M = TypeVar("M", bound=Model)
_ORDERS = {"asc": "asc", "desc": "desc", "ascending": "asc", "descending": "desc"}


def paginate(
    request: Request,
    queryset: QuerySet[M],
    to_wire: Callable[[M], dict[str, Any]],
    *,
    default_limit: int,
    max_limit: int,
    default_order: str = "desc",
    id_field: str = "public_id",
    time_field: str = "created_at",
) -> dict[str, Any]:
    """One page of `queryset`, which must already be limited to what the caller may see.

    Rows are ordered by `time_field`, and rows of one instant by the primary key, which only grows; so pages neither
    skip nor repeat a row when new rows arrive.

    Raises:
        InvalidRequest: `limit` out of 1..max_limit, an unknown `order`, or an `after` that is no row of `queryset`.
    """
    limit = _limit(request.query_params.get("limit"), default_limit, max_limit)
    order = _order(request.query_params.get("order"), default_order)
    after = request.query_params.get("after")
    rows = queryset
    if after:
        rows = rows.filter(_beyond(_row_of(queryset, after, id_field), time_field, order))
    sign = "-" if order == "desc" else ""
    found = list(rows.order_by(f"{sign}{time_field}", f"{sign}pk")[: limit + 1])
    shown = found[:limit]
    return {
        "object": "list",
        "data": [to_wire(row) for row in shown],
        "first_id": getattr(shown[0], id_field) if shown else None,
        "last_id": getattr(shown[-1], id_field) if shown else None,
        "has_more": len(found) > limit,
    }


def page_parameters(default_limit: int, max_limit: int, *, order: bool = False) -> list[OpenApiParameter]:
    limit = {"type": "integer", "minimum": 1, "maximum": max_limit, "default": default_limit}
    parameters = [
        OpenApiParameter("after", OpenApiTypes.STR, description="id of the last element of the page before"),
        OpenApiParameter("limit", limit),
    ]
    return [*parameters, OpenApiParameter("order", OpenApiTypes.STR, enum=["asc", "desc"])] if order else parameters


def _limit(text: str | None, default: int, maximum: int) -> int:
    if text is None:
        return default
    try:
        limit = int(text) if text.isascii() and len(text) < 10 else 0
    except ValueError:
        limit = 0
    if not 1 <= limit <= maximum:
        raise InvalidRequest(f"limit is {text[:40]!r}; expected a whole number from 1 to {maximum}", param="limit")
    return limit


def _order(text: str | None, default: str) -> str:
    if text is None:
        return default
    if text not in _ORDERS:
        raise InvalidRequest(f"order is {text[:40]!r}; expected 'asc' or 'desc'", param="order")
    return _ORDERS[text]


def _row_of(queryset: QuerySet[M], after: str, id_field: str) -> M:
    row = queryset.filter(**{id_field: after}).first()
    if row is None:
        raise InvalidRequest(f"after is {after[:80]!r}, which is not in this list", param="after")
    return row


def _beyond(row: Model, time_field: str, order: str) -> Q:
    side = "lt" if order == "desc" else "gt"
    instant = getattr(row, time_field)
    return Q(**{f"{time_field}__{side}": instant}) | Q(**{time_field: instant, f"pk__{side}": row.pk})
