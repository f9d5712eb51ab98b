"""Requests made from the OpenAPI document, right and wrong ones: no 5xx, no undocumented status, no other shape."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
FUZZ = settings(
    max_examples=15, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@pytest.fixture
def operations(server):
    schema = schemathesis.openapi.from_url(f"{server}/v1/openapi.json")
    return [result.ok() for result in schema.get_all_operations()]


def test_every_operation_answers_as_documented_whatever_is_sent(operations, api_key):
    failures = []
    for operation in operations:

        @FUZZ
        @given(case=operation.as_strategy())
        def answers_as_documented(case):
            response = case.call(headers={"authorization": f"Bearer {api_key}"}, timeout=30)
            case.validate_response(response, checks=CHECKS)

        try:
            answers_as_documented()
        except Exception as error:  # all operations are looked at before the test ends
            failures.append(f"{operation.method} {operation.path}: {error}")
    assert not failures, "\n\n".join(failures)
