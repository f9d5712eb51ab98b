"""A project lets others of its organization use a checkpoint, and no one else."""

from datetime import UTC, datetime

import openai
import pytest
from rest_framework.test import APIClient

from fettle_platform.core.errors import NotFound
from fettle_platform.registry import services
from fettle_platform.registry.selectors import served_model

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DIGEST = "a" * 64


@pytest.fixture
def checkpoint(scope):
    """The public id of a checkpoint of `scope`, with a slash and colons."""
    name = services.checkpoint_name("ft:Qwen/Qwen3-4B:acme:sums:a1B2c3D4", 8)
    services.model_register(
        project=scope.project,
        public_id=name,
        base_model="fettle-tiny",
        adapter_digest=DIGEST,
        job_id="ftjob-1",
        step=8,
        is_checkpoint=True,
        parent="fettle-tiny",
        details={},
        now=NOW,
    )
    return name


@pytest.fixture
def permissions(checkpoint):
    return f"/v1/fine_tuning/checkpoints/{checkpoint}/permissions"


@pytest.fixture
def sister(scope):
    """`sister("b")` makes another project of the same organization: (scope, client with its key)."""
    from fettle_platform.accounts.models import Project
    from fettle_platform.accounts.scoping import Scope
    from fettle_platform.accounts.services import api_key_create

    def make(name="sister"):
        project = Project.objects.create(organization=scope.organization, name=name)
        row, key = api_key_create(project=project, name="test")
        client = APIClient(headers={"host": "localhost"})
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {key}")
        return Scope(scope.organization, project, row), client

    return make


def test_a_permission_lets_a_sister_project_chat_and_do_nothing_else(api, sister, checkpoint, permissions, error_of):
    friend, theirs = sister()
    with pytest.raises(NotFound):
        served_model(friend, checkpoint, shared=True)
    response = api.post(permissions, {"project_ids": [friend.project.public_id]})
    assert response.status_code == 200
    assert served_model(friend, checkpoint, shared=True).upstream_name == f"ft-{DIGEST}"
    with pytest.raises(NotFound):
        served_model(friend, checkpoint)  # as for training from it
    for path in (f"/v1/models/{checkpoint}", f"/v1/fettle/models/{checkpoint}/adapter", permissions):
        error_of(theirs.get(path), 404)
    error_of(theirs.post(permissions, {"project_ids": [friend.project.public_id]}), 404)

    granted = response.json()["data"][0]["id"]
    error_of(theirs.delete(f"{permissions}/{granted}"), 404)
    assert api.delete(f"{permissions}/{granted}").status_code == 200
    with pytest.raises(NotFound):
        served_model(friend, checkpoint, shared=True)


def test_the_exact_answers(api, sister, permissions, golden):
    project = sister()[0].project.public_id
    created = api.post(permissions, {"project_ids": [project]}).json()
    golden("permission_page", created)
    assert created["data"][0]["project_id"] == project
    assert api.get(permissions).json() == created
    granted = created["data"][0]["id"]
    golden("permission_deleted", api.delete(f"{permissions}/{granted}").json())
    assert api.get(permissions).json()["data"] == []


def test_granting_twice_gives_the_same_permission(api, sister, permissions):
    one, two = (sister(name)[0].project.public_id for name in "ab")
    first = api.post(permissions, {"project_ids": [one, one]}).json()["data"]
    again = api.post(permissions, {"project_ids": [two, one]}).json()["data"]
    assert [each["project_id"] for each in again] == [two, one]
    assert first == again[1:]


def test_a_foreign_project_answers_as_one_that_never_was_and_nothing_is_granted(
    api, sister, other, permissions, error_of
):
    friend = sister()[0].project.public_id
    foreign, nothing = other[0].project.public_id, "proj_" + "0" * 24
    errors = [error_of(api.post(permissions, {"project_ids": [friend, name]}), 404) for name in (foreign, nothing)]
    assert errors[0]["param"] == "project_ids.1"
    errors[0]["message"] = errors[0]["message"].replace(foreign, nothing)
    assert errors[0] == errors[1]
    assert api.get(permissions).json()["data"] == []


def test_pages_in_both_orders_and_of_one_project(api, sister, permissions):
    projects = [sister(name)[0].project.public_id for name in "abc"]
    for project in projects:
        api.post(permissions, {"project_ids": [project]})

    def walked(query):
        found, after = [], ""
        for _ in range(5):
            page = api.get(f"{permissions}?limit=2{query}{after}").json()
            found += [each["project_id"] for each in page["data"]]
            assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
            if not page["has_more"]:
                break
            after = f"&after={page['last_id']}"
        return found

    assert walked("") == walked("&order=descending") == projects[::-1]
    assert walked("&order=ascending") == projects
    assert walked(f"&project_id={projects[1]}") == [projects[1]]
    assert api.get(f"{permissions}?project_id=proj_nope").json()["data"] == []


def test_a_slash_may_be_sent_escaped(api, sister, permissions, checkpoint):
    escaped = permissions.replace(checkpoint, checkpoint.replace("/", "%2F"))
    granted = api.post(escaped, {"project_ids": [sister()[0].project.public_id]}).json()["data"][0]["id"]
    assert api.delete(f"{escaped}/{granted}").json()["deleted"] is True


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_required_parameter"),
        ({"project_ids": []}, "missing_required_parameter"),
        ({"project_ids": "proj_1"}, "invalid_type"),
        ({"project_ids": ["x" * 65]}, "invalid_value"),
    ],
)
def test_a_wrong_body_is_refused(api, permissions, error_of, body, code):
    error = error_of(api.post(permissions, body), 400)
    assert (error["param"] or "").startswith("project_ids")
    assert error["code"] == code


def test_no_key_a_foreign_key_and_a_wrong_method(anonymous, foreign_api, api, sister, permissions, error_of):
    project = sister()[0].project.public_id
    granted = api.post(permissions, {"project_ids": [project]}).json()["data"][0]["id"]
    for client, status in ((anonymous, 401), (foreign_api, 404)):
        error_of(client.get(permissions), status)
        error_of(client.post(permissions, {"project_ids": [project]}), status)
        error_of(client.delete(f"{permissions}/{granted}"), status)
    error_of(api.put(permissions, {}), 405)
    error_of(api.get(f"{permissions}/{granted}"), 405)
    error_of(api.delete(f"{permissions}/cp_nope"), 404)
    error_of(api.get(f"{permissions}?order=up"), 400)


def test_a_permission_goes_with_its_model(api, sister, checkpoint, permissions, error_of):
    from fettle_platform.registry.models import Permission

    api.post(permissions, {"project_ids": [sister()[0].project.public_id]})
    api.delete(f"/v1/models/{checkpoint}")
    assert not Permission.objects.exists()
    error_of(api.get(permissions), 404)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # retrieve, which the client replaced by list
def test_the_official_client_grants_lists_and_takes_back(openai_client, sister, checkpoint):
    calls = openai_client.fine_tuning.checkpoints.permissions
    projects = [sister(name)[0].project.public_id for name in "abc"]
    created = list(calls.create(checkpoint, project_ids=projects))
    assert [each.project_id for each in created] == projects
    assert [each.id for each in calls.list(checkpoint, limit=1, order="ascending")] == [each.id for each in created]
    page = calls.retrieve(checkpoint, project_id=projects[1])
    assert ([each.id for each in page.data], page.has_more) == ([created[1].id], False)
    deleted = calls.delete(created[1].id, fine_tuned_model_checkpoint=checkpoint)
    assert (deleted.id, deleted.deleted) == (created[1].id, True)
    assert {each.project_id for each in calls.list(checkpoint)} == {projects[0], projects[2]}
    with pytest.raises(openai.NotFoundError):
        calls.delete(created[1].id, fine_tuned_model_checkpoint=checkpoint)
