import json
from datetime import timedelta

import pytest
from django.utils import timezone

from fettle_platform.accounts import people
from fettle_platform.accounts.models import Member, Project, SignInLink, User
from fettle_platform.accounts.services import bootstrap, first_owner

PASSWORD = "wisteria-44-lanterns"


class Browser:
    """A browser on the server's page: it keeps cookies, and sends the CSRF token and its origin with every change."""

    def __init__(self, client):
        self.client = client
        self.headers = {"Host": "localhost", "Origin": "http://localhost"}
        client.get("/", headers={"Host": "localhost", "Accept": "text/html"})

    def send(self, method, path, data=None, **headers):
        token = self.client.cookies["csrftoken"].value
        return self.client.generic(
            method,
            path,
            b"" if data is None else json.dumps(data).encode(),
            content_type="application/json",
            headers=self.headers | {"X-CSRFToken": token} | headers,
        )

    def get(self, path, **headers):
        return self.send("GET", path, **headers)

    def post(self, path, data=None, **headers):
        return self.send("POST", path, data, **headers)

    def sign_in(self, user):
        answer = self.post("/v1/fettle/session", {"link": people.sign_in_link_create(user=user)})
        assert answer.status_code == 200, answer.content
        return answer


@pytest.fixture
def open_browser():
    from django.test import Client

    return lambda: Browser(Client(enforce_csrf_checks=True, raise_request_exception=False))


@pytest.fixture
def browser(open_browser, db):
    return open_browser()


@pytest.fixture
def person(scope):
    """`person("ann@acme.test", role="member")` belongs to the organization of `scope` and has a password."""

    def make(email, role="owner", organization=scope.organization):
        member = people.member_add(organization=organization, email=email, role=role)
        people.password_set(user=member.user, password=PASSWORD)
        return member.user

    return make


def test_signed_out_is_an_answer_and_not_an_error(browser):
    body = browser.get("/v1/fettle/session").json()
    assert (body["signed_in"], body["user"], body["project"]) == (False, None, None)


def test_a_link_signs_in_once(browser, open_browser, scope, person, error_of):
    link = people.sign_in_link_create(user=person("ann@acme.test"))
    body = browser.post("/v1/fettle/session", {"link": link}).json()
    assert (body["signed_in"], body["user"]["email"], body["role"]) == (True, "ann@acme.test", "owner")
    assert body["project"]["id"] == scope.project.public_id
    error = error_of(open_browser().post("/v1/fettle/session", {"link": link}), 401)
    assert error["code"] == "invalid_sign_in_link"
    assert browser.get("/v1/files").status_code == 200


def test_a_link_is_good_for_a_day_and_only_its_digest_is_kept(browser, person, error_of):
    link = people.sign_in_link_create(user=person("ann@acme.test"))
    assert link not in str(SignInLink.objects.values())
    SignInLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    error_of(browser.post("/v1/fettle/session", {"link": link}), 401)


def test_a_password_signs_in_and_a_wrong_one_does_not(browser, person, error_of):
    person("ann@acme.test")
    wrong = browser.post("/v1/fettle/session", {"email": "ann@acme.test", "password": "guess"})
    nobody = browser.post("/v1/fettle/session", {"email": "bob@acme.test", "password": PASSWORD})
    assert error_of(wrong, 401) == error_of(nobody, 401)
    right = browser.post("/v1/fettle/session", {"email": "ann@acme.test", "password": PASSWORD})
    assert right.json()["signed_in"] is True


def test_ten_wrong_passwords_stop_the_eleventh_try_even_with_the_right_one(browser, person, error_of):
    person("guessed@acme.test")
    for _ in range(10):
        error_of(browser.post("/v1/fettle/session", {"email": "guessed@acme.test", "password": "guess"}), 401)
    answer = browser.post("/v1/fettle/session", {"email": "guessed@acme.test", "password": PASSWORD})
    assert error_of(answer, 429)["code"] == "rate_limit_exceeded"
    assert 1 <= int(answer.headers["retry-after"]) <= 300


def test_the_cookie_is_out_of_reach_of_scripts_and_named_by_the_port(open_browser, person):
    user = person("ann@acme.test")
    answer = open_browser().sign_in(user)
    cookie = answer.cookies["fettle_session"]
    assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Lax", "")
    other = open_browser()
    other.headers = {"Host": "localhost:8123", "Origin": "http://localhost:8123"}
    assert "fettle_session_8123" in other.sign_in(user).cookies


def test_over_https_the_cookie_is_secure(person):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.get("/", headers={"Host": "localhost", "Accept": "text/html"}, secure=True)
    answer = client.post(
        "/v1/fettle/session",
        {"link": people.sign_in_link_create(user=person("ann@acme.test"))},
        content_type="application/json",
        headers={
            "Host": "localhost",
            "Origin": "https://localhost",
            "X-CSRFToken": client.cookies["csrftoken"].value,
        },
        secure=True,
    )
    assert answer.cookies["fettle_session"]["secure"] is True


@pytest.mark.parametrize(
    "headers",
    [
        {"X-CSRFToken": ""},
        {"X-CSRFToken": "0" * 32},
        {"Origin": "http://evil.test"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "null"},
    ],
)
def test_a_change_from_elsewhere_is_refused_with_a_session_and_at_sign_in(browser, person, error_of, headers):
    user = person("ann@acme.test")
    browser.sign_in(user)
    for path, data in (
        ("/v1/fettle/api_keys", {"name": "stolen"}),
        ("/v1/chat/completions", {"model": "x", "messages": []}),
        ("/v1/fettle/session", {"link": people.sign_in_link_create(user=user)}),
    ):
        assert error_of(browser.post(path, data, **headers), 403)["code"] == "csrf_failed"


def test_a_key_needs_no_csrf_token(api, anonymous, browser, person):
    assert api.post("/v1/fine_tuning/jobs", {}).status_code == 400


def test_a_rebound_host_name_is_refused(browser, person, error_of):
    browser.sign_in(person("ann@acme.test"))
    error_of(browser.get("/v1/files", Host="evil.test"), 400)


def test_a_form_upload_passes_with_the_token_in_the_header(browser, person):
    browser.sign_in(person("ann@acme.test"))
    from django.core.files.uploadedfile import SimpleUploadedFile

    row = b'{"messages": [{"role": "user", "content": "1 + 1?"}], "answer": "2"}\n'
    answer = browser.client.post(
        "/v1/files",
        {"purpose": "fine-tune", "file": SimpleUploadedFile("a.jsonl", row)},
        headers=browser.headers | {"X-CSRFToken": browser.client.cookies["csrftoken"].value},
    )
    assert answer.status_code == 200, answer.content
    assert answer.json()["status"] == "processed"


def test_signing_out_ends_the_session_also_for_a_kept_cookie(browser, person, error_of):
    browser.sign_in(person("ann@acme.test"))
    kept = browser.client.cookies["fettle_session"].value
    assert browser.send("DELETE", "/v1/fettle/session").json()["signed_in"] is False
    browser.client.cookies["fettle_session"] = kept
    error_of(browser.get("/v1/files"), 401)


def test_a_new_password_ends_the_other_sessions(browser, open_browser, person, error_of):
    user = person("ann@acme.test")
    browser.sign_in(user)
    elsewhere = open_browser()
    elsewhere.sign_in(user)
    change = {"password": "another-lantern-5", "current_password": "guess"}
    assert error_of(browser.post("/v1/fettle/session/password", change), 400)["param"] == "current_password"
    change["current_password"] = PASSWORD
    assert browser.post("/v1/fettle/session/password", change).status_code == 200
    assert browser.get("/v1/files").status_code == 200
    error_of(elsewhere.get("/v1/files"), 401)


def test_a_password_that_is_easy_to_guess_is_refused(browser, db, error_of):
    bootstrap()
    browser.sign_in(first_owner())
    error = error_of(browser.post("/v1/fettle/session/password", {"password": "12345678"}), 400)
    assert error["param"] == "password"


def test_a_session_sees_its_own_projects_only(browser, scope, other, person, error_of):
    browser.sign_in(person("ann@acme.test"))
    second = Project.objects.create(organization=scope.organization, name="second")
    own = browser.get("/v1/fettle/session", **{"OpenAI-Project": second.public_id}).json()
    assert own["project"] == {"id": second.public_id, "name": "second"}
    assert [project["name"] for project in own["projects"]] == ["default", "second"]
    foreign = other[0].project.public_id
    error_of(browser.get("/v1/files", **{"OpenAI-Project": foreign}), 403)


def test_an_owner_makes_projects_that_share_nothing(browser, scope, person, api, error_of):
    browser.sign_in(person("ann@acme.test"))
    made = browser.post("/v1/fettle/projects", {"name": " Support answers "}).json()
    assert made["name"] == "Support answers"
    assert [project["name"] for project in browser.get("/v1/fettle/session").json()["projects"]] == [
        "default",
        "Support answers",
    ]
    key = browser.post("/v1/fettle/api_keys", {"name": "bot"}, **{"OpenAI-Project": made["id"]}).json()
    there = browser.get("/v1/fettle/api_keys", **{"OpenAI-Project": made["id"]}).json()["data"]
    assert [one["id"] for one in there] == [key["id"]]
    assert key["id"] not in [one["id"] for one in browser.get("/v1/fettle/api_keys").json()["data"]]
    error_of(browser.post("/v1/fettle/projects", {"name": "Support answers"}), 400)
    renamed = browser.post(f"/v1/fettle/projects/{made['id']}", {"name": "Support"}).json()
    assert (renamed["id"], renamed["name"]) == (made["id"], "Support")
    error_of(browser.post(f"/v1/fettle/projects/{made['id']}", {"name": "default"}), 400)
    # A key knows its own project and makes none.
    assert [one["id"] for one in api.get("/v1/fettle/projects").json()["data"]] == [scope.project.public_id]
    error_of(api.post("/v1/fettle/projects", {"name": "more"}), 403)


def test_members_make_no_projects_and_nobody_renames_anothers(browser, open_browser, person, other, error_of):
    browser.sign_in(person("bob@acme.test", role="member"))
    error_of(browser.post("/v1/fettle/projects", {"name": "mine"}), 403)
    owner = open_browser()
    owner.sign_in(person("ann@acme.test"))
    error_of(owner.post(f"/v1/fettle/projects/{other[0].project.public_id}", {"name": "taken"}), 404)


def test_a_removed_member_sees_nothing_from_the_next_request_on(browser, scope, person, error_of):
    person("owner@acme.test")
    user = person("ann@acme.test", "member")
    browser.sign_in(user)
    people.member_remove(member=Member.objects.get(user=user))
    error_of(browser.get("/v1/files"), 403)


def test_keys_are_made_shown_once_and_revoked_by_people(browser, anonymous, person, api, error_of):
    browser.sign_in(person("ann@acme.test", "member"))
    made = browser.post("/v1/fettle/api_keys", {"name": "ci", "expires_in_days": 30}).json()
    assert made["expires_at"] - made["created_at"] == 30 * 86400
    listed = browser.get("/v1/fettle/api_keys").json()["data"]
    assert {key["value"] for key in listed} == {None}
    assert made["value"] not in str(listed)
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {made['value']}"}
    assert anonymous.get("/v1/files", **bearer).status_code == 200
    assert browser.send("DELETE", f"/v1/fettle/api_keys/{made['id']}").json()["revoked_at"]
    error_of(anonymous.get("/v1/files", **bearer), 401)
    error_of(api.post("/v1/fettle/api_keys", {"name": "successor"}), 403)


def test_only_owners_change_members_and_one_owner_stays(browser, open_browser, person, error_of):
    owner, member = person("owner@acme.test"), person("ann@acme.test", "member")
    browser.sign_in(member)
    error_of(browser.post("/v1/fettle/members", {"email": "eve@acme.test", "role": "owner"}), 403)
    error_of(browser.post(f"/v1/fettle/members/{member.public_id}", {"role": "owner"}), 403)
    browser.sign_in(owner)
    error = error_of(browser.send("DELETE", f"/v1/fettle/members/{owner.public_id}"), 400)
    assert error["code"] == "invalid_state"
    assert browser.post(f"/v1/fettle/members/{member.public_id}", {"role": "owner"}).json()["role"] == "owner"
    assert browser.send("DELETE", f"/v1/fettle/members/{owner.public_id}").json()["deleted"] is True


def test_an_invited_person_signs_in_with_the_link_of_the_answer(browser, open_browser, person):
    browser.sign_in(person("owner@acme.test"))
    added = browser.post("/v1/fettle/members", {"email": "new@acme.test", "role": "member"}).json()
    secret = added["sign_in_link"].removeprefix("/sign-in#")
    session = open_browser().post("/v1/fettle/session", {"link": secret}).json()
    assert (session["user"]["email"], session["user"]["has_password"]) == ("new@acme.test", False)


def test_adding_somebody_of_another_organization_gives_no_link_into_their_account(browser, person, other):
    person("bob@other.test", organization=other[0].organization)
    browser.sign_in(person("owner@acme.test"))
    added = browser.post("/v1/fettle/members", {"email": "bob@other.test", "role": "member"}).json()
    assert added["sign_in_link"] is None


def test_the_first_owner_is_made_once_and_has_no_password(db):
    assert first_owner() == first_owner()
    assert User.objects.get().has_usable_password() is False
