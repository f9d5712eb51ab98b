"""The examples of docs/grader-lab.md: each request gives what the page says of its answer."""

import json
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "grader-lab.md").read_text("utf-8")
PARTS = re.findall(r"## [^\n]*`POST (\S+)`\n(.*?)(?=\n## |\Z)", PAGE, re.DOTALL)
EXAMPLES = [
    (route, json.loads(block)) for route, part in PARTS for block in re.findall(r"```json\n(.*?)```", part, re.DOTALL)
]


def at(answer, path):
    for key in path.split("."):
        answer = answer[int(key)] if isinstance(answer, list) else answer[key]
    return answer


def test_every_route_but_regrade_has_an_example():
    assert {route.rsplit("/", 1)[-1] for route, _ in EXAMPLES} == {"test", "red_team", "calibrate"}


@pytest.mark.parametrize(("route", "example"), EXAMPLES, ids=[route.rsplit("/", 1)[-1] for route, _ in EXAMPLES])
def test_examples_give_what_the_page_says(api, route, example):
    expected = example.pop("answer")
    response = api.post(route, example)
    assert response.status_code == 200, response.json()
    for path, value in expected.items():
        found = at(response.json(), path)
        assert found == (pytest.approx(value) if isinstance(value, float) else value), path
