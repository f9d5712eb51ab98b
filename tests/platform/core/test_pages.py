from datetime import timedelta

import pytest
from django.utils import timezone

from fettle_platform.datasets.models import File


@pytest.fixture
def files(scope):
    """Five files of one instant and one older: the ids, oldest first."""
    now = timezone.now()
    moments = [now - timedelta(days=1), *[now] * 5]
    rows = [
        File.objects.create(
            project=scope.project, filename=f"{i}", purpose="evals", size_bytes=1, sha256="", created_at=moment
        )
        for i, moment in enumerate(moments)
    ]
    return [row.public_id for row in rows]


def walk(api, query):
    """Every id, following `after` as the official client does."""
    ids, after = [], ""
    for _ in range(20):
        page = api.get(f"/v1/files?{query}{after}").json()
        ids += [entry["id"] for entry in page["data"]]
        if not page["has_more"]:
            return ids
        after = f"&after={page['data'][-1]['id']}"
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7])
def test_pages_hold_each_row_once_also_when_created_in_one_instant(api, files, limit):
    assert walk(api, f"limit={limit}") == files[::-1]
    assert walk(api, f"limit={limit}&order=asc") == files


def test_a_page_names_its_ends(api, files):
    page = api.get("/v1/files?limit=2").json()
    assert (page["object"], page["has_more"]) == ("list", True)
    assert (page["first_id"], page["last_id"]) == (files[5], files[4])


def test_an_empty_page_has_no_ends(api):
    assert api.get("/v1/files").json() == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False,
    }  # fmt: skip


def test_a_row_added_between_pages_is_not_shown_twice(api, scope, files):
    first = api.get("/v1/files?limit=3").json()
    File.objects.create(project=scope.project, filename="new", purpose="evals", size_bytes=1, sha256="")
    second = api.get(f"/v1/files?limit=3&after={first['last_id']}").json()
    assert [entry["id"] for entry in first["data"] + second["data"]] == files[::-1]


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "many", "", "1.5", "１"])
def test_a_limit_out_of_bounds_is_400(api, error_of, limit):
    assert error_of(api.get("/v1/files", {"limit": limit}), 400)["param"] == "limit"


def test_an_unknown_order_or_cursor_is_400(api, foreign_api, files, error_of):
    assert error_of(api.get("/v1/files?order=up"), 400)["param"] == "order"
    assert error_of(api.get("/v1/files?after=file-none"), 400)["param"] == "after"
    assert error_of(foreign_api.get(f"/v1/files?after={files[0]}"), 400)["param"] == "after"
