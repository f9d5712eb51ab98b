import io
import json
import tracemalloc

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import given
from hypothesis import strategies as st

from fettle_platform.datasets import services
from fettle_platform.datasets.lines import iterate_lines
from fettle_platform.datasets.validation import find_overlap, validate_rows, validate_rows_for


def row(content="2 + 3?", role="user", **fields):
    return {"messages": [{"role": role, "content": content}], **fields}


def lines(*rows):
    return "".join(json.dumps(entry) + "\n" for entry in rows).encode()


def report_of(data):
    return validate_rows(io.BytesIO(data))


def only_cause(report):
    (cause,) = report.causes
    return cause


@pytest.fixture
def store_file(scope):
    def make(data, name="train.jsonl"):
        return services.file_create(project=scope.project, purpose="fine-tune", filename=name, source=data)

    return make


def test_good_rows_are_counted_and_measured():
    report = report_of(lines(row("ab", answer="5", level=1), row("abcd", answer=None)))
    assert report.is_valid
    assert (report.num_rows, report.num_errors, report.num_warnings) == (2, 0, 0)
    statistics = report.statistics.to_json()
    assert statistics["columns"] == {
        "messages": {"array": 2}, "answer": {"string": 1, "null": 1}, "level": {"number": 1},
    }  # fmt: skip
    assert statistics["roles"] == {"user": 2}
    assert (statistics["num_prompt_chars"], statistics["max_prompt_chars"]) == (6, 4)


def test_byte_order_mark_crlf_and_blank_lines_are_fine():
    data = b"\xef\xbb\xbf" + lines(row("a")).replace(b"\n", b"\r\n") + b"\r\n\n" + lines(row("b"))[:-1]
    report = report_of(data)
    assert report.is_valid
    assert report.num_rows == 2
    assert {cause.code: cause.count for cause in report.causes} == {"byte_order_mark": 1, "blank_line": 2}


@pytest.mark.parametrize(
    ("line", "code", "found"),
    [
        (b"{", "invalid_json", "column 2"),
        (b'{"messages": [], "a": NaN}', "not_a_number", "NaN"),
        (b'{"a": 1, "a": 2}', "duplicate_key", "'a'"),
        (b'{"a": "\xff"}', "invalid_utf8", "byte 0xff at position 8"),
        (b"[1]", "not_an_object", "array"),
        (b'"text"', "not_an_object", "string"),
        (b"[" * 5000, "nested_too_deep", "nested deeper"),
        (b'{"a": "\\udc00"}', "unpaired_surrogate", "surrogate"),
        (b"{}", "missing_field", "nothing"),
        (b'{"messages": "hi"}', "wrong_type", "string"),
        (b'{"messages": []}', "empty_messages", "[]"),
        (b'{"messages": [1]}', "wrong_type", "number"),
        (b'{"messages": [{"role": "user"}]}', "invalid_content", "nothing"),
        (b'{"messages": [{"content": "x"}]}', "unknown_role", "nothing"),
        (b'{"messages": [{"role": "user", "content": [{"type": "audio"}]}]}', "invalid_part", "a part of type 'audio'"),
        (b'{"messages": [{"role": "user", "content": "x", "weight": 2}]}', "invalid_weight", "2"),
        (b'{"messages": [{"role": "user", "content": "x"}], "tools": [1]}', "invalid_tools", "array"),
    ],
)
def test_each_kind_of_problem_names_its_line_and_what_was_found(line, code, found):
    report = report_of(lines(row()) + line + b"\n" + lines(row("other")))
    assert not report.is_valid
    cause = only_cause(report)
    assert cause.code == code
    assert [example.line for example in cause.examples] == [2]
    assert found in cause.examples[0].found
    assert cause.expected
    assert report.describe("f").startswith("f has 1 problem: line 2")


def test_the_path_names_the_field_and_the_group_leaves_the_index_open():
    data = lines({"messages": [{"role": "user", "content": "x"}, {"role": "robot", "content": "x"}]}, row(role="bot"))
    cause = only_cause(report_of(data))
    assert cause.path == "messages[].role"
    assert [(example.line, example.path, example.found) for example in cause.examples] == [
        (1, "messages.1.role", "'robot'"),
        (2, "messages.0.role", "'bot'"),
    ]


def test_a_thousand_problems_are_counted_and_a_hundred_shown():
    report = report_of(lines(*[row(f"q{i}", role="bot") for i in range(1000)]))
    cause = only_cause(report)
    assert (report.num_errors, cause.count, len(cause.examples)) == (1000, 1000, 100)
    assert report.describe().endswith("(and 999 more)")


def test_a_rare_problem_after_many_still_has_an_example():
    report = report_of(lines(*[row(f"q{i}", role="bot") for i in range(200)]) + b"oops\n")
    assert [cause.code for cause in report.causes] == ["unknown_role", "invalid_json"]
    assert report.causes[1].examples[0].line == 201


def test_an_empty_file_and_utf16_are_refused():
    assert only_cause(report_of(b"")).code == "no_rows"
    report = report_of(json.dumps(row()).encode("utf-16"))
    assert only_cause(report).code == "utf16"
    assert "save the file as UTF-8" in report.describe()


def test_limits_on_line_length_and_rows(change_env):
    change_env(max_line_bytes=100, max_rows=3)
    report = report_of(lines(row("x" * 100), row("a")))
    assert only_cause(report).code == "line_too_long"
    assert report.num_rows == 2
    assert only_cause(report_of(lines(*[row(f"{i}") for i in range(5)]))).code == "too_many_rows"


def test_preference_rows_pass_the_general_check_only(store_file):
    data = lines({"input": {"messages": row()["messages"]}, "preferred_output": [], "non_preferred_output": []})
    assert report_of(data).is_valid
    report = validate_rows_for(store_file(data), method="reinforcement")
    assert only_cause(report).code == "wrong_row_kind"


def test_a_repeated_prompt_is_a_warning_that_names_the_first():
    report = report_of(lines(row("a", answer=1), row("b"), row("a", answer=2)))
    assert report.is_valid
    assert only_cause(report).examples[0].found == "line 1"
    assert report.statistics.num_repeated_prompts == 1


@pytest.mark.parametrize(
    ("method", "role", "is_valid"),
    [
        ("reinforcement", "user", True),
        ("reinforcement", "developer", True),
        ("reinforcement", "assistant", False),
        ("supervised", "assistant", True),
        ("supervised", "user", False),
    ],
)
def test_the_last_message_decides_for_which_method_a_row_is(store_file, method, role, is_valid):
    data = lines({"messages": [{"role": "user", "content": "q"}, {"role": role, "content": "a"}]})
    report = validate_rows_for(store_file(data), method=method)
    assert report.is_valid == is_valid
    if not is_valid:
        assert only_cause(report).examples[0].path == "messages.1.role"


def test_every_field_the_grader_reads_must_be_in_every_row(store_file):
    data = lines(row("a", answer="1", deep={"list": [1]}), row("b", answer="2", deep={"list": []}), row("c"))
    report = validate_rows_for(
        store_file(data), method="reinforcement", item_paths=["item.answer", "item.deep.list[0]"]
    )
    assert {(cause.path, cause.count) for cause in report.causes} == {("answer", 1), ("deep.list[0]", 2)}
    assert 'line 3, answer: the row has no field "answer"; the grader reads item.answer' in report.describe()


def test_images_are_refused_clearly_by_jobs_but_not_at_upload(store_file):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,x"}}
    data = lines(row([{"type": "text", "text": "what is it?"}, image]))
    assert report_of(data).is_valid
    report = validate_rows_for(store_file(data), method="reinforcement")
    assert only_cause(report).code == "image_not_supported"
    assert only_cause(report).examples[0].path == "messages.0.content.1"


def test_overlap_is_found_by_prompt_whatever_the_rest_of_the_row_says(store_file):
    training = store_file(lines(row("a", answer=1), row("b"), row("c")))
    validation = store_file(lines(row("x"), row("c", answer=9), row("a")))
    overlap = find_overlap(training, validation)
    assert overlap.num_rows == 2
    assert overlap.examples == ((3, 2), (1, 3))
    assert find_overlap(training, store_file(lines(row("y")))).num_rows == 0


def test_a_final_answer_is_not_part_of_the_prompt(store_file):
    asked = [{"role": "system", "content": "Be brief."}, *row("a")["messages"]]
    answered = {"messages": [*asked, {"role": "assistant", "content": "1"}]}
    other = {"messages": [asked[0], *row("b")["messages"], {"role": "assistant", "content": "1"}]}
    training = store_file(lines({"messages": asked}))
    assert find_overlap(training, store_file(lines(answered))).num_rows == 1
    assert find_overlap(training, store_file(lines(other))).num_rows == 0


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"").rstrip(b"\r"))), st.integers(1, 7))
def test_lines_come_back_as_they_were_whatever_the_pieces(contents, piece):
    class Slow(io.RawIOBase):
        def __init__(self, data):
            self.inner = io.BytesIO(data)

        def read(self, size=-1):
            return self.inner.read(piece)

    read = list(iterate_lines(Slow(b"".join(line + b"\n" for line in contents)), max_bytes=8))
    assert [line.number for line in read] == list(range(1, len(contents) + 1))
    assert [line.data for line in read] == [line if len(line) <= 8 else None for line in contents]


def test_a_carriage_return_belongs_to_the_line_end_only():
    read = iterate_lines(io.BytesIO(b"a\rb\r\nc\r\n\r\nd"), max_bytes=3)
    assert [line.data for line in read] == [b"a\rb", b"c", b"", b"d"]


def test_an_endless_line_takes_no_memory():
    class Endless(io.RawIOBase):
        left = 64

        def read(self, size=-1):
            self.left -= 1
            return b"x" * size if self.left >= 0 else b""

    tracemalloc.start()
    (line,) = iterate_lines(Endless(), max_bytes=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (line.data, line.size_bytes) == (None, 64 * 2**20)
    assert peak < 8 * 2**20


def test_a_separator_inside_a_string_ends_no_line():
    report = report_of(json.dumps(row("a\u2028b\x85c"), ensure_ascii=False).encode() + b"\n")
    assert report.is_valid
    assert report.num_rows == 1


@given(st.binary(max_size=200))
def test_no_bytes_whatsoever_make_it_raise(data):
    report = report_of(data)
    assert report.is_valid or report.describe()


def test_the_report_survives_the_database(api):
    made = api.post(
        "/v1/files", {"purpose": "fine-tune", "file": SimpleUploadedFile("a.jsonl", lines(row()))}, format="multipart"
    )
    body = api.get(f"/v1/fettle/files/{made.json()['id']}/validation").json()
    assert (body["num_rows"], body["status"], body["causes"]) == (1, "processed", [])
