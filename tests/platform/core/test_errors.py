import pytest
from pydantic import ValidationError
from rest_framework import exceptions, serializers

from fettle_platform.core.errors import (
    FettleError,
    InvalidRequest,
    RateLimited,
    as_fettle_error,
    envelope,
    invalid_from_pydantic,
)
from fettle_workers.contract.spec import ReinforcementHyperparameters


def every_error(base=FettleError):
    for kind in base.__subclasses__():
        yield kind
        yield from every_error(kind)


def test_no_error_but_a_duplicate_in_flight_is_a_409():
    # The official client repeats a 409 by itself, so it must never mean a lasting conflict.
    assert [kind.__name__ for kind in every_error() if kind.status == 409] == ["InFlight"]


def test_the_envelope_has_all_four_keys():
    assert envelope(InvalidRequest("m", param="a.b")) == {
        "error": {"message": "m", "type": "invalid_request_error", "param": "a.b", "code": "invalid_value"}
    }


def test_throttling_says_how_long_to_wait():
    error = as_fettle_error(exceptions.Throttled(wait=7.6))
    assert isinstance(error, RateLimited)
    assert (error.status, error.headers) == (429, {"retry-after": "8"})


class Inner(serializers.Serializer):
    name = serializers.CharField()


class Outer(serializers.Serializer):
    inner = Inner(many=True)
    kind = serializers.ChoiceField(["a", "b"])


@pytest.mark.parametrize(
    ("data", "param", "code"),
    [
        ({"inner": [{"name": "x"}, {}], "kind": "a"}, "inner.1.name", "missing_required_parameter"),
        ({"inner": [{"name": "x"}], "kind": "c"}, "kind", "invalid_value"),
        ({"inner": [{"name": ["x"]}], "kind": "a"}, "inner.0.name", "invalid_type"),
        ({"inner": {}, "kind": "a"}, "inner", "invalid_type"),
        ({"inner": [{"name": None}], "kind": "a"}, "inner.0.name", "missing_required_parameter"),
    ],
)
def test_serializer_errors_name_the_first_wrong_field(data, param, code):
    outer = Outer(data=data)
    outer.is_valid()
    error = as_fettle_error(exceptions.ValidationError(outer.errors))
    assert (error.param, error.code) == (param, code)


@pytest.mark.parametrize(
    ("values", "param", "code"),
    [
        ({"n_epochs": 0}, "h.n_epochs", "invalid_value"),
        ({"epochs": 1}, "h.epochs", "unknown_parameter"),
        ({"reasoning_effort": "much"}, "h.reasoning_effort", "invalid_value"),
    ],
)
def test_pydantic_errors_name_the_wrong_field(values, param, code):
    with pytest.raises(ValidationError) as caught:
        ReinforcementHyperparameters(**values)
    error = invalid_from_pydantic(caught.value, "h")
    assert (error.param, error.code) == (param, code)
