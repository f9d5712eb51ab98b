import zlib
from datetime import timedelta

import pytest
from django.utils import timezone
from pydantic import SecretStr

from fettle_platform.accounts import keys
from fettle_platform.accounts.models import ApiKey
from fettle_platform.accounts.services import api_key_create, api_key_revoke, bootstrap

BOOTSTRAP_KEY = "fk_given_by_the_operator_1"


def test_a_valid_key_is_let_in(api):
    assert api.get("/v1/files").status_code == 200


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer fk_wrong", "Bearer sk-1", "Bearer fk_\x00", "Bearer é"],
)
def test_anything_else_is_401_invalid_api_key(anonymous, db, error_of, header):
    headers = {} if header is None else {"HTTP_AUTHORIZATION": header}
    response = anonymous.get("/v1/files", **headers)
    error = error_of(response, 401)
    assert error["code"] == "invalid_api_key"
    assert error["type"] == "invalid_request_error"
    assert response.headers["www-authenticate"] == "Bearer"


def test_the_error_does_not_repeat_the_key(anonymous, db):
    key = keys.new_key()
    response = anonymous.get("/v1/files", HTTP_AUTHORIZATION=f"Bearer {key}")
    assert key[12:-4] not in response.content.decode()


def test_a_key_with_one_other_character_is_refused(anonymous, api_key, error_of):
    wrong = api_key[:20] + ("a" if api_key[20] != "a" else "b") + api_key[21:]
    error_of(anonymous.get("/v1/files", HTTP_AUTHORIZATION=f"Bearer {wrong}"), 401)


def test_an_expired_key_is_refused(anonymous, scope, error_of):
    _, key = api_key_create(project=scope.project, name="old", expires_at=timezone.now() - timedelta(seconds=1))
    error_of(anonymous.get("/v1/files", HTTP_AUTHORIZATION=f"Bearer {key}"), 401)


def test_a_revoked_key_stops_at_once(api, scope, error_of):
    api_key_revoke(api_key=scope.api_key)
    error_of(api.get("/v1/files"), 401)


def test_last_use_is_noted_once_in_ten_minutes(api, scope):
    api.get("/v1/files")
    first = ApiKey.objects.get(pk=scope.api_key.pk).last_used_at
    api.get("/v1/files")
    assert first is not None
    assert ApiKey.objects.get(pk=scope.api_key.pk).last_used_at == first


def test_named_organization_and_project_must_be_the_keys_own(api, scope, other, error_of):
    own = {"HTTP_OPENAI_ORGANIZATION": scope.organization.public_id, "HTTP_OPENAI_PROJECT": scope.project.public_id}
    assert api.get("/v1/files", **own).status_code == 200
    response = api.get("/v1/files", HTTP_OPENAI_ORGANIZATION=other[0].organization.public_id)
    assert error_of(response, 401)["code"] == "mismatched_organization"
    response = api.get("/v1/files", HTTP_OPENAI_PROJECT=other[0].project.public_id)
    assert error_of(response, 401)["code"] == "mismatched_project"


def test_only_a_digest_under_the_servers_secret_is_kept(api_key, scope, change_env):
    row = ApiKey.objects.get(pk=scope.api_key.pk)
    assert api_key not in str(vars(row))
    before = keys.digest_of(api_key)
    change_env(secret_key=SecretStr("another"))
    assert keys.digest_of(api_key) != before == row.digest


def test_the_checksum_is_the_crc_as_six_base62_digits():
    body = "fk_00000000_x"
    value = 0
    for digit in keys.checksum(body):
        value = value * 62 + keys.BASE62.index(digit)
    assert len(keys.checksum(body)) == 6
    assert value == zlib.crc32(body.encode())


def test_bootstrap_gives_the_key_only_when_it_makes_it(db, anonymous):
    first, second = bootstrap(), bootstrap()
    assert first.api_key.startswith("fk_")
    assert second.api_key is None
    assert second.project == first.project
    assert anonymous.get("/v1/files", HTTP_AUTHORIZATION=f"Bearer {first.api_key}").status_code == 200


def test_bootstrap_accepts_the_operators_key_also_beside_others(db, anonymous, change_env):
    bootstrap()
    change_env(bootstrap_api_key=SecretStr(BOOTSTRAP_KEY))
    assert bootstrap().api_key == BOOTSTRAP_KEY
    assert bootstrap().api_key is None
    assert ApiKey.objects.count() == 2
    assert anonymous.get("/v1/files", HTTP_AUTHORIZATION=f"Bearer {BOOTSTRAP_KEY}").status_code == 200
