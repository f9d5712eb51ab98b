from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from fettle import InvalidData, InvalidRequest
from fettle.data import FileId, check_lines, source_of
from fettle.requests import chat_messages, job_request, merge_hyperparameters, path

GRADER = {"type": "math", "name": "math", "reference": "{{item.answer}}"}


def build(**changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "model": "tiny",
        "grader": GRADER,
        "method": "reinforcement",
        "response_format": None,
        "suffix": "sums",
        "seed": None,
        "metadata": None,
        "validation_split": 0.2,
        "hyperparameters": {"n_epochs": 3},
        "fields": {"group_size": 8},
    }
    return job_request(**{**arguments, **changes})


def test_one_file_asks_the_server_to_hold_rows_out() -> None:
    assert build().body("file-a", None) == {
        "model": "tiny",
        "training_file": "file-a",
        "method": {
            "type": "reinforcement",
            "reinforcement": {"grader": GRADER, "hyperparameters": {"n_epochs": 3, "group_size": 8}},
        },
        "suffix": "sums",
        "fettle": {"validation_split": 0.2},
    }


def test_two_files_send_no_split() -> None:
    body = build().body("file-a", "file-b")
    assert body["validation_file"] == "file-b"
    assert "fettle" not in body


def test_a_supervised_job_has_its_own_method_object() -> None:
    body = build(method="supervised", grader=None, hyperparameters=None, fields={"n_epochs": 2}).body("file-a", None)
    assert body["method"] == {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}


def test_impossible_combinations_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="needs a grader"):
        build(grader=None)
    with pytest.raises(InvalidRequest, match="takes no grader"):
        build(method="supervised")


def test_a_misspelt_training_field_names_the_right_one() -> None:
    with pytest.raises(TypeError, match="unknown training field 'n_epoch'; did you mean 'n_epochs'"):
        merge_hyperparameters(None, {"n_epoch": 1})
    with pytest.raises(InvalidRequest, match="'n_epochs' is given both"):
        merge_hyperparameters({"n_epochs": 1}, {"n_epochs": 2})
    # What a newer server may know passes through the dictionary.
    assert merge_hyperparameters({"brand_new": 1}, {}) == {"brand_new": 1}


def test_model_ids_with_slashes_are_one_path_segment() -> None:
    assert (
        path("models", "ft:Qwen/Qwen3-4B:acme:s:1", "adapter") == "/fettle/models/ft:Qwen%2FQwen3-4B:acme:s:1/adapter"
    )


def test_a_text_is_one_user_message() -> None:
    assert chat_messages("hi") == [{"role": "user", "content": "hi"}]


def test_data_is_told_apart_by_form(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"messages": [{"role": "user", "content": "hi"}]}\n')
    assert source_of("file-abc", name="x") == FileId("file-abc")
    assert source_of(file, name="x").path == file
    rows = source_of([{"messages": [{"role": "user", "content": "é"}]}], name="sums-train")
    assert rows.name == "sums-train.jsonl"
    assert rows.content == '{"messages": [{"role": "user", "content": "é"}]}\n'.encode()
    with pytest.raises(InvalidRequest, match=r"no file 'rows\.jsonl'"):
        source_of("rows.jsonl", name="x")
    with pytest.raises(InvalidRequest, match="empty"):
        source_of([], name="x")


def test_rows_that_json_cannot_hold_name_their_line() -> None:
    with pytest.raises(InvalidData, match="line 2: Out of range float"):
        source_of([{"a": 1}, {"a": float("nan")}], name="x")


def test_line_problems_are_grouped_by_cause() -> None:
    good = json.dumps({"messages": [{"role": "user", "content": "x"}]}).encode()
    lines = [good, b"{oops", b"", b"[1]", b'{"messages": []}', b"{oops", b'{"messages": ["x"]}']
    num_rows, problems = check_lines(lines)
    assert num_rows == 6  # the empty line is no row
    assert [str(problem) for problem in problems] == [
        "lines 2, 6: not valid JSON (Expecting property name enclosed in double quotes)",
        "line 4: expected a JSON object, found list",
        "line 5: `messages` must be a list with at least one message",
        "line 7: every message must be an object with `role` and `content`",
    ]


def test_reading_reports_progress_and_starts_over_after_a_seek() -> None:
    source = source_of([{"messages": ["x" * 100]}], name="x")
    seen: list[tuple[int, int]] = []
    with source.reader(lambda sent, total: seen.append((sent, total))) as stream:
        assert stream.read(10) == source.content[:10]
        stream.seek(0)
        assert stream.read() == source.content
    size = len(source.content)
    assert seen == [(10, size), (size, size)]
    assert isinstance(source.reader(None), io.BytesIO)
