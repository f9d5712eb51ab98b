import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

GOOD = {"messages": [{"role": "user", "content": 'Say "hi"\nplease'}], "answer": "hi", "family": "greeting"}
MORE = {"messages": [{"role": "user", "content": "Add 2 and 3."}], "answer": "5", "family": "sum"}
BAD_ROLE = {"messages": [{"role": "usr", "content": "x"}]}
LINES = [json.dumps(GOOD), "", json.dumps(BAD_ROLE), "{not json", json.dumps(MORE)]


@pytest.fixture
def upload(api):
    def send(lines, client=api, name="train.jsonl", purpose="fine-tune"):
        data = SimpleUploadedFile(name, ("\n".join(lines) + "\n").encode())
        return client.post("/v1/files", {"purpose": purpose, "file": data}, format="multipart").json()["id"]

    return send


@pytest.fixture
def file_id(upload):
    return upload(LINES)


def content(api, file_id):
    return b"".join(api.get(f"/v1/files/{file_id}/content").streaming_content).decode().splitlines()


def test_rows_carry_their_line_their_value_and_what_is_wrong(api, file_id):
    rows = api.get(f"/v1/fettle/files/{file_id}/rows").json()["data"]
    assert [row["line"] for row in rows] == [1, 3, 4, 5]
    assert rows[0]["value"] == GOOD
    assert rows[0]["problems"] == []
    (problem,) = rows[1]["problems"]
    assert (problem["severity"], problem["path"], problem["found"]) == ("error", "messages.0.role", "'usr'")
    assert rows[2]["value"] is None
    assert rows[2]["raw"] == "{not json"
    assert rows[2]["problems"][0]["code"] == "invalid_json"


def test_pages_go_on_behind_the_last_line(api, file_id):
    first = api.get(f"/v1/fettle/files/{file_id}/rows?limit=2").json()
    assert (first["last_id"], first["has_more"]) == ("line-3", True)
    rest = api.get(f"/v1/fettle/files/{file_id}/rows?limit=2&after=line-3").json()
    assert ([row["line"] for row in rest["data"]], rest["has_more"]) == ([4, 5], False)


@pytest.mark.parametrize(
    ("query", "lines"),
    [("contains=ADD 2", [5]), ('contains=say "hi"', [1]), ("contains=nowhere", []), ("bad=true", [3, 4])],
)
def test_rows_are_found_by_text_and_by_being_wrong(api, file_id, query, lines):
    rows = api.get(f"/v1/fettle/files/{file_id}/rows?{query}").json()["data"]
    assert [row["line"] for row in rows] == lines


def test_bad_lines_come_back_as_they_were(api, file_id):
    response = api.get(f"/v1/fettle/files/{file_id}/bad_lines")
    assert b"".join(response.streaming_content).decode().splitlines() == [LINES[2], LINES[3]]
    assert "bad-lines-of-train.jsonl" in response["content-disposition"]


def test_the_usable_rows_become_a_file_that_can_be_trained_on(api, file_id):
    made = api.post(f"/v1/fettle/files/{file_id}/usable_rows").json()
    assert (made["status"], made["filename"]) == ("processed", "train.usable.jsonl")
    assert content(api, made["id"]) == [LINES[0], LINES[4]]


def test_without_a_usable_row_no_file_is_made(api, upload, error_of):
    answer = api.post(f"/v1/fettle/files/{upload(['{'])}/usable_rows")
    assert error_of(answer, 400)["code"] == "invalid_state"


def test_a_split_loses_no_row_and_keeps_equal_prompts_on_one_side(api, upload):
    def row(number, answer):
        return json.dumps({"messages": [{"role": "user", "content": f"{number}?"}], "answer": answer})

    lines = [row(number % 10, f"answer {number}") for number in range(20)]  # each prompt twice
    split = api.post(f"/v1/fettle/files/{upload(lines)}/split", {"share": 0.3, "seed": 7}).json()
    training = content(api, split["training_file"]["id"])
    validation = content(api, split["validation_file"]["id"])
    assert sorted(training + validation) == sorted(lines)
    assert (len(training), len(validation)) == (14, 6)  # 3 of the 10 prompts, each twice
    prompts = [{json.loads(line)["messages"][0]["content"] for line in side} for side in (training, validation)]
    assert prompts[0].isdisjoint(prompts[1])
    again = api.post(f"/v1/fettle/files/{upload(lines)}/split", {"share": 0.3, "seed": 7}).json()
    assert content(api, again["validation_file"]["id"]) == validation


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_a_share_outside_of_0_and_1_is_refused(api, file_id, error_of, share):
    assert error_of(api.post(f"/v1/fettle/files/{file_id}/split", {"share": share}), 400)["param"] == "share"


def test_a_file_with_unreadable_lines_is_not_split(api, file_id, error_of):
    error = error_of(api.post(f"/v1/fettle/files/{file_id}/split", {"share": 0.5}), 400)
    assert "line 4" in error["message"]


def test_overlap_names_the_lines_of_both_files(api, upload):
    one, other = upload([json.dumps(GOOD), json.dumps(MORE)]), upload([json.dumps(MORE)])
    found = api.get(f"/v1/fettle/files/{one}/overlap?other={other}").json()
    assert (found["num_rows"], found["examples"]) == (1, [{"line": 2, "other_line": 1}])


def test_statistics_count_values_and_prompt_lengths(api, file_id):
    statistics = api.get(f"/v1/fettle/files/{file_id}/validation").json()["statistics"]
    assert statistics["values"]["family"] == {"num_distinct": 2, "most_common": [["greeting", 1], ["sum", 1]]}
    assert "messages" not in statistics["values"]
    # 15 and 12 characters: 2^3 to below 2^4; one character: 2^0.
    assert statistics["prompt_chars"] == [[0, 1], [3, 2]]


@pytest.mark.parametrize("path", ["rows", "bad_lines", "overlap?other=file-1"])
def test_another_projects_file_and_another_purpose_are_refused(api, foreign_api, upload, file_id, error_of, path):
    error_of(foreign_api.get(f"/v1/fettle/files/{file_id}/{path}"), 404)
    assert api.get(f"/v1/fettle/files/{upload(['x'], purpose='evals')}/{path}").status_code in (400, 404)


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=201", "after=5", "after=line-x"])
def test_wrong_paging_is_refused(api, file_id, error_of, query):
    error_of(api.get(f"/v1/fettle/files/{file_id}/rows?{query}"), 400)
