"""What a step tells about its graders."""

from types import SimpleNamespace

from fettle_graders.grade import Grade, GradeErrors
from fettle_graders.services import TokenUsage
from fettle_graders.spec import parse_grader
from fettle_workers.engine.rollout import Rollout, grader_metrics

ASKED = [{"role": "user", "content": "{{sample.output_text}}"}]
JUDGE = {"type": "score_model", "model": "judge", "input": ASKED}
CHECK = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "x", "operation": "eq"}


def tokens(read, written):
    return TokenUsage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


def rollouts(*grades):
    empty = SimpleNamespace()
    return [Rollout("train", 1, 0, 0.0, empty, n, empty, empty, grade) for n, grade in enumerate(grades)]


def test_a_judges_tokens_are_summed_also_those_of_grades_that_failed():
    failed = Grade(None, GradeErrors.of("model_grader_parse_error"), usage={"judge": tokens(10, 4)})
    (found,) = grader_metrics(
        parse_grader(JUDGE), rollouts(Grade(1.0, usage={"judge": tokens(7, 2)}), failed), prefix="train"
    )
    assert found.train_usage == {"judge": tokens(17, 6)}
    assert found.valid_usage == {}
    assert found.train_errors == {"model_grader_parse_error": 1}


def test_the_tokens_of_a_multi_grader_are_those_of_its_parts_and_counted_once():
    spec = parse_grader({"type": "multi", "graders": {"style": JUDGE, "right": CHECK}, "calculate_output": "style"})
    grade = Grade(
        0.5,
        usage={"judge": tokens(7, 2)},
        sub_scores={"style": 0.5, "right": 0.0},
        sub_errors={"style": GradeErrors(), "right": GradeErrors()},
        sub_usage={"style": {"judge": tokens(7, 2)}, "right": {}},
    )
    found = {one.name: one.valid_usage for one in grader_metrics(spec, rollouts(grade, grade), prefix="valid")}
    assert found == {"multi": {}, "style": {"judge": tokens(14, 4)}, "right": {}}
