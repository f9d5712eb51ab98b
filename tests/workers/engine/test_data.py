import json

import pytest

from fettle_workers.contract.spec import ReinforcementMethod, TrainSpec
from fettle_workers.engine.data import load_rows, read_rows, render_data, split_rows
from fettle_workers.engine.errors import JobFailed


@pytest.fixture
def spec_of(write_rows):
    return lambda *arguments, **more: make_spec(write_rows, *arguments, **more)


def make_spec(write_rows, work, rows, validation=None, share=None):
    grader = {"type": "math", "name": "m", "reference": "{{item.answer}}"}
    return TrainSpec(
        job_id="j",
        base_model="m",
        method=ReinforcementMethod(grader=grader),
        seed=1,
        training_file=write_rows(work, rows),
        validation_file=write_rows(work, validation) if validation else None,
        validation_split=share,
    )


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("{", "row 1 (line 2): not valid JSON"),
        ("[1]", "row 1 (line 2): a list; expected a JSON object"),
        ('{"prompt": "x"}', 'row 1 (line 2): has no list of "messages"'),
        ('{"messages": []}', 'row 1 (line 2): has no list of "messages"'),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, found, simple_rows):
    path = tmp_path / "f"
    path.write_text(json.dumps(simple_rows(1)[0]) + "\n" + line + "\n")
    with pytest.raises(JobFailed) as refused:
        read_rows(path, "training_file")
    assert found in refused.value.message
    assert (refused.value.code, refused.value.param) == ("invalid_training_file", "training_file")


def test_a_bad_validation_file_has_its_own_code(tmp_path):
    (tmp_path / "f").write_bytes(b"\xff\xfe")
    with pytest.raises(JobFailed, match="not UTF-8") as refused:
        read_rows(tmp_path / "f", "validation_file")
    assert refused.value.code == "invalid_validation_file"


def test_line_separators_inside_strings_do_not_cut_a_row(tmp_path):
    row = {"messages": [{"role": "user", "content": "a\u2028b"}]}
    (tmp_path / "f").write_text(json.dumps(row, ensure_ascii=False) + "\r\n\n", "utf-8")
    assert [one.item for one in read_rows(tmp_path / "f", "training_file")] == [row]


def test_the_split_is_stable_and_keeps_equal_rows_together(tmp_path, write_rows, simple_rows):
    rows = simple_rows(40) + simple_rows(40)
    ref = write_rows(tmp_path, rows)
    loaded = read_rows(tmp_path / "inputs" / ref.sha256, "training_file")
    train, held_out = split_rows(loaded, 0.25)
    assert len(held_out) == 20  # 10 of 40 contents, twice each
    contents = lambda part: {json.dumps(row.item) for row in part}  # noqa: E731
    assert not contents(train) & contents(held_out)
    assert contents(split_rows(tuple(reversed(loaded)), 0.25)[1]) == contents(held_out)


def test_too_few_rows_to_hold_any_out_are_evaluated_in_sample(tmp_path, spec_of, simple_rows):
    raw = load_rows(spec_of(tmp_path, simple_rows(8), share=0.2), tmp_path / "inputs")
    assert raw.in_sample
    assert len(raw.train) == len(raw.held_out) == 8
    assert "no improvement is claimed" in raw.warnings[0]


def test_enough_rows_are_held_out(tmp_path, spec_of, simple_rows):
    raw = load_rows(spec_of(tmp_path, simple_rows(40), share=0.2), tmp_path / "inputs")
    assert (raw.in_sample, len(raw.train), len(raw.held_out)) == (False, 32, 8)


def test_validation_rows_that_are_trained_on_are_told(tmp_path, spec_of, simple_rows):
    raw = load_rows(spec_of(tmp_path, simple_rows(8), validation=simple_rows(8, 4)), tmp_path / "inputs")
    assert raw.warnings == ("4 of 8 validation rows are also training rows: the measured gain is too high",)


def test_a_prompt_that_fills_the_context_is_named(tmp_path, make_policy, spec_of, simple_rows):
    rows = [*simple_rows(2), {"messages": [{"role": "user", "content": "x" * 200}]}]
    raw = load_rows(spec_of(tmp_path, rows, validation=simple_rows(3)), tmp_path / "inputs")
    with pytest.raises(JobFailed, match=r"training_file row 2 \(line 3\): the prompt has \d+ tokens"):
        render_data(raw, make_policy().chat, context_size=128, response_format=None, reasoning_effort="default")


def test_a_role_the_template_does_not_know_is_named(tmp_path, make_policy, spec_of, simple_rows):
    rows = [{"messages": [{"role": "robot", "content": "x"}]}]
    raw = load_rows(spec_of(tmp_path, rows, validation=simple_rows(3)), tmp_path / "inputs")
    with pytest.raises(JobFailed, match=r"row 0 .*robot"):
        render_data(raw, make_policy().chat, context_size=128, response_format=None, reasoning_effort="default")
