from __future__ import annotations

import json
from pathlib import Path

import pytest

from fettle import InvalidRequest
from fettle import graders as g


def test_string_check_is_the_wire_shape() -> None:
    assert g.string_check("{{sample.output_text}}", "eq", "{{item.answer}}", name="exact") == {
        "type": "string_check",
        "name": "exact",
        "operation": "eq",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
    }


def test_multi_names_its_children_by_their_keywords() -> None:
    exact = g.string_check("{{sample.output_text}}", "eq", "{{item.answer}}")
    near = g.text_similarity("{{sample.output_text}}", "{{item.answer}}", "rouge_l")
    grader = g.multi(exact=exact, near=near, formula="0.9 * exact + 0.1 * min(near, 1e-1)")
    assert grader["calculate_output"] == "0.9 * exact + 0.1 * min(near, 1e-1)"
    assert {key: child["name"] for key, child in grader["graders"].items()} == {"exact": "exact", "near": "near"}
    assert grader["graders"]["near"]["evaluation_metric"] == "rouge_l"


def test_the_functions_build_what_the_server_parses() -> None:
    spec = pytest.importorskip("fettle_graders.spec")
    judge = [{"role": "user", "content": "Rate {{sample.output_text}}"}]
    graders = [
        g.string_check("{{sample.output_text}}", "ilike", "a"),
        g.text_similarity("{{sample.output_text}}", "{{item.a}}"),
        g.math("{{item.a}}"),
        g.python("def grade(sample, item):\n    return 1.0\n"),
        g.code(),
        g.code([{"stdin": "1", "stdout": "2"}, "assert f(1) > 2"], scoring="all", allow_weak_tests=True),
        g.json_schema({"type": "object"}),
        g.reward_model("mine", activation="none"),
        g.process("mine", aggregate="product", input="{{sample.output_reasoning}}"),
        g.majority(answer="text", canary="{{item.a}}", train_on=4),
        g.regex(r"#### (\d+)", reference="{{item.a}}", group=1),
        g.format(thinking_tags=("<t>", "</t>"), boxed=True, max_words=50, required=["x"], forbidden=["y"]),
        g.endpoint("https://grade.example/v1", headers={"Authorization": "Bearer k"}, rate_limit=5),
        g.score_model("judge", judge, range=(0, 5), sampling_params={"temperature": 0}),
        g.multi(
            label=g.label_model("judge", judge, labels=["good", "bad"], passing_labels=["good"]),
            exact=g.string_check("{{sample.output_text}}", "eq", "a"),
            formula="label * exact",
            outcome="exact",
        ),
    ]
    for grader in graders:
        assert spec.parse_grader(grader).type == grader["type"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: g.string_check("{{sample.output_text}}", "equals", "x"), "operation 'equals' does not exist"),
        (lambda: g.text_similarity("a", "b", "rouge_L"), "did you mean 'rouge_l'"),
        (lambda: g.string_check("{{output.text}}", "eq", "x"), "templates know `item`"),
        (lambda: g.multi(ok=g.math("1"), formula="0.5 * okay"), "the formula reads 'okay'"),
        (lambda: g.multi({"not ok": g.math("1")}, formula="1"), "cannot be used in a formula"),
        (lambda: g.multi(a=g.multi(b=g.math("1"), formula="b"), formula="a"), "do not nest"),
        (lambda: g.multi(formula="1"), "at least one grader"),
        (lambda: g.label_model("m", "x", labels=["a"], passing_labels=["b"]), "passing label 'b'"),
        (lambda: g.score_model("m", "x", range=(1, 0)), "range must rise"),
        (lambda: g.python("def grade(sample, item)\n  return 1"), "does not parse"),
        (lambda: g.python("def score(sample, item):\n  return 1"), "no top-level function `grade"),
        (lambda: g.regex("a", match="find"), "match 'find' does not exist"),
        (lambda: g.process("m", aggregate="mean"), "aggregate 'mean' does not exist"),
        (lambda: g.majority(answer="maths"), "did you mean 'math'"),
        (lambda: g.format(), "at least one rule"),
        (lambda: g.multi(ok=g.math("1"), formula="ok", outcome="okay"), "did you mean 'ok'"),
        (lambda: g.endpoint("grade.example"), "begin with http"),
        (lambda: g.endpoint("https://x", rate_limit=0), "above 0"),
        (lambda: g.from_file("nowhere.json"), "cannot read the grader"),
    ],
)
def test_a_wrong_name_is_refused_offline(build, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        build()
    assert message in str(caught.value)


def test_a_local_function_becomes_a_python_grader() -> None:
    def short(sample, item):
        return float(len(sample["output_text"]) < 5)

    source = g.python(short)["source"]
    scope: dict = {}
    exec(source, scope)
    assert source.startswith("def grade(sample, item):")
    assert scope["grade"]({"output_text": "four"}, {}) == 1.0


def test_files_of_three_kinds_load(tmp_path: Path) -> None:
    grader = g.math("{{item.answer}}")
    (tmp_path / "g.json").write_text(json.dumps({"grader": grader}))
    (tmp_path / "g.toml").write_text('type = "math"\nname = "math"\nreference = "{{item.answer}}"\n')
    (tmp_path / "short.py").write_text("def grade(sample, item):\n    return 1.0\n")
    assert g.from_file(tmp_path / "g.json") == grader
    assert g.from_file(tmp_path / "g.toml")["reference"] == "{{item.answer}}"
    assert g.from_file(tmp_path / "short.py")["name"] == "short"
    (tmp_path / "bad.json").write_text("[1]")
    with pytest.raises(InvalidRequest, match="holds no grader"):
        g.from_file(tmp_path / "bad.json")
