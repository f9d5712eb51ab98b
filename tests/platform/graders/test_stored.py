"""Stored graders: versions that never change, scoped, comparable, and nameable in a job."""

import pytest

GRADERS = "/v1/fettle/graders"
EXACT = {"type": "string_check", "operation": "eq", "input": "{{sample.output_text}}", "reference": "{{item.answer}}"}
LOOSE = EXACT | {"operation": "ilike"}


@pytest.fixture
def store(api):
    def make(client=None, grader=EXACT, name="exact"):
        answer = (client or api).post(GRADERS, {"name": name, "grader": grader, "note": "first"})
        assert answer.status_code == 200, answer.json()
        return answer.json()

    return make


def add(api, grader, definition, note=""):
    return api.post(f"{GRADERS}/{grader['id']}/versions", {"grader": definition, "note": note}).json()


def test_a_stored_grader_is_its_first_version(api, store, golden):
    grader = store()
    assert grader["id"].startswith("grader-")
    assert grader["newest"]["id"].startswith("gradr-")
    assert (grader["num_versions"], grader["newest"]["number"]) == (1, 1)
    assert api.get(f"{GRADERS}/{grader['id']}").json() == grader
    assert api.get(f"{GRADERS}/versions/{grader['newest']['id']}").json() == grader["newest"]
    stable = grader | {"id": "grader-<id>", "newest": grader["newest"] | {"id": "gradr-<id>", "grader_id": "x"}}
    golden("stored", stable)


def test_versions_are_numbered_and_an_equal_one_adds_nothing(api, store):
    grader = store()
    second = add(api, grader, LOOSE, "looser")
    assert second["number"] == 2
    assert add(api, grader, LOOSE)["id"] == second["id"]
    assert add(api, grader, EXACT)["number"] == 3
    page = api.get(f"{GRADERS}/{grader['id']}/versions?limit=2").json()
    assert [version["number"] for version in page["data"]] == [3, 2]
    assert page["has_more"]
    rest = api.get(f"{GRADERS}/{grader['id']}/versions?after={page['last_id']}").json()
    assert [version["number"] for version in rest["data"]] == [1]
    assert api.get(f"{GRADERS}/{grader['id']}/versions/2").json() == second
    assert api.get(f"{GRADERS}/{grader['id']}/versions/{second['id']}").json() == second


def test_two_versions_are_compared_field_by_field(api, store, error_of):
    grader = store()
    error_of(api.get(f"{GRADERS}/{grader['id']}/diff"), 400)
    add(api, grader, LOOSE)
    diff = api.get(f"{GRADERS}/{grader['id']}/diff").json()
    assert diff["changes"] == [{"path": "operation", "from": "eq", "to": "ilike"}]
    assert (diff["from"]["number"], diff["to"]["number"]) == (1, 2)
    back = api.get(f"{GRADERS}/{grader['id']}/diff?from=2&to=1").json()
    assert back["changes"] == [{"path": "operation", "from": "ilike", "to": "eq"}]
    error_of(api.get(f"{GRADERS}/{grader['id']}/diff?from=9"), 404)


def test_a_deleted_grader_is_hidden_and_its_versions_are_still_there(api, store, error_of):
    grader = store()
    assert api.delete(f"{GRADERS}/{grader['id']}").json()["deleted"] is True
    error_of(api.get(f"{GRADERS}/{grader['id']}"), 404)
    assert api.get(GRADERS).json()["data"] == []
    assert api.get(f"{GRADERS}/versions/{grader['newest']['id']}").json()["deleted"] is True


def test_another_organizations_grader_is_not_there(api, foreign_api, store, error_of):
    grader = store(foreign_api)
    for path in (
        grader["id"],
        f"{grader['id']}/versions",
        f"{grader['id']}/diff",
        f"versions/{grader['newest']['id']}",
    ):
        error_of(api.get(f"{GRADERS}/{path}"), 404)
    error_of(api.delete(f"{GRADERS}/{grader['id']}"), 404)
    error_of(api.post(f"{GRADERS}/{grader['id']}/versions", {"grader": EXACT}), 404)
    assert api.get(GRADERS).json()["data"] == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"grader": EXACT}, "name"),
        ({"name": "x"}, "grader"),
        ({"name": "x", "grader": {"type": "string_check"}}, "grader.input"),
        ({"name": "", "grader": EXACT}, "name"),
    ],
)
def test_bad_bodies_are_named(api, error_of, body, param):
    assert error_of(api.post(GRADERS, body), 400)["param"] == param


def test_a_key_is_needed(anonymous, db, error_of):
    error_of(anonymous.get(GRADERS), 401)
    error_of(anonymous.post(GRADERS, {}), 401)


def test_secrets_in_headers_are_masked(api, store):
    remote = {"type": "endpoint", "url": "https://example.com/grade", "headers": {"authorization": "Bearer secret"}}
    grader = store(grader=remote)
    assert grader["newest"]["grader"]["headers"] == {"authorization": "*" * 10}
    assert "secret" not in str(api.get(GRADERS).json())


def test_code_that_does_not_load_is_not_stored(api, store, error_of):
    broken = {"type": "python", "source": "def grade(sample): return 1"}
    error = error_of(api.post(GRADERS, {"name": "broken", "grader": broken}), 400)
    assert (error["code"], error["param"]) == ("invalid_grader", "grader.source")
    grader = store()
    error = error_of(api.post(f"{GRADERS}/{grader['id']}/versions", {"grader": broken}), 400)
    assert error["param"] == "grader.source"
    assert api.get(f"{GRADERS}/{grader['id']}").json()["num_versions"] == 1
