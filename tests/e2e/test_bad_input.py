"""What a running server answers to requests as no client should send them: the error envelope, and never a 5xx."""

import copy
import http.client
import json
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.e2e
DEMO = Path(__file__).parents[2] / "examples" / "demo"
TIMEOUT_S = 60
ROW = {"messages": [{"role": "user", "content": "What is 1 + 1?"}], "answer": "2"}
ABSENT = object()


@pytest.fixture(scope="module")
def server(shared):
    return Server(shared)


class Server:
    """Sends bytes and paths as they are: httpx and the official client would tidy them up."""

    def __init__(self, platform):
        self.address = urlsplit(platform.url)
        self.api_key = platform.api_key

    def send(self, method, path, body=b"", content_type="application/json"):
        """Status and decoded answer of one request on a connection of its own."""
        connection = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=30)
        headers = {"Authorization": f"Bearer {self.api_key}", "Content-Type": content_type}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def error(self, method, path, body=b"", **options):
        """Status and the four fields of the envelope."""
        status, answer = self.send(method, path, body, **options)
        assert 400 <= status < 500, (method, path, body[:200], status, answer)
        assert set(answer) == {"error"}
        assert set(answer["error"]) == {"message", "type", "param", "code"}
        assert answer["error"]["message"]
        return status, answer["error"]

    def upload(self, content, purpose="fine-tune"):
        boundary = uuid.uuid4().hex
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'.encode(),
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="rows.jsonl"\r\n\r\n'.encode(),
            content,
            f"\r\n--{boundary}--\r\n".encode(),
        ]
        return self.send("POST", "/v1/files", b"".join(parts), f"multipart/form-data; boundary={boundary}")

    def upload_rows(self, rows):
        status, file = self.upload("".join(json.dumps(row) + "\n" for row in rows).encode())
        assert status == 200, file
        return file["id"]

    def is_well(self):
        return self.send("GET", "/healthz")[0] == 200


def job_body(training, validation):
    return {
        "model": "fettle-tiny",
        "training_file": training,
        "validation_file": validation,
        "method": {
            "type": "reinforcement",
            "reinforcement": {
                "grader": json.loads((DEMO / "grader.json").read_text()),
                "hyperparameters": {"max_steps": 1},
            },
        },
    }


def changed(body, path, value):
    """`body` with another value at the dotted path, or without it."""
    body = copy.deepcopy(body)
    *parents, last = path.split(".")
    place = body
    for name in parents:
        place = place[name]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return body


HYPER = "method.reinforcement.hyperparameters"
GRADER = "method.reinforcement.grader"
# What is changed in a good body, to what, the `param` of the answer (the same place unless given), its code.
WRONG_FIELDS = [
    ("model", ABSENT, None, "missing_required_parameter"),
    ("model", 7, None, "invalid_type"),
    ("model", "gpt-9", None, "model_not_found"),
    ("model", "../../etc/passwd", None, "model_not_found"),
    ("training_file", ABSENT, None, "missing_required_parameter"),
    ("training_file", ["file-1"], None, "invalid_type"),
    ("training_file", "file-nowhere", None, "file_not_found"),
    ("training_file", "../../../etc/passwd", None, "file_not_found"),
    ("validation_file", ABSENT, None, "missing_required_parameter"),
    ("validation_file", "file-nowhere", None, "file_not_found"),
    ("seed", 10**400, None, "invalid_value"),
    ("seed", -1, None, "invalid_value"),
    ("seed", 1.5, None, "invalid_type"),
    ("suffix", "x" * 65, None, "invalid_value"),
    ("metadata", {"team": 7}, "metadata.team", "invalid_type"),
    ("metadata", [], None, "invalid_type"),
    ("nepochs", 3, None, "unknown_parameter"),
    ("method", "reinforcement", None, "invalid_type"),
    ("method", {"type": "dpo", "dpo": {}}, "method.type", "invalid_value"),
    ("method", {"type": "reinforcement"}, "method.reinforcement", "missing_required_parameter"),
    ("method.typ", "reinforcement", None, "unknown_parameter"),
    (f"{HYPER}.n_epochs", 10**400, None, "invalid_value"),
    (f"{HYPER}.n_epochs", "3", None, "invalid_value"),
    (f"{HYPER}.batch_size", True, None, "invalid_value"),
    (f"{HYPER}.batchsize", 4, None, "unknown_parameter"),
    (f"{HYPER}", [], None, "invalid_type"),
    (f"{GRADER}", ABSENT, None, "missing_required_parameter"),
    (f"{GRADER}", "string_check", None, "invalid_grader"),
    (f"{GRADER}.operation", "equals", None, "invalid_grader"),
    (f"{GRADER}.reference", "{{item.answer", None, "invalid_grader"),
    ("fettle", {"validation_split": 0.5}, "fettle.validation_split", "invalid_value"),
    ("integrations", [{"type": "wandb"}], "integrations.0.wandb", "missing_required_parameter"),
]


def test_wrong_fields_of_a_job_are_named(server):
    files = server.upload_rows([ROW]), server.upload_rows([ROW])
    before = server.send("GET", "/v1/fine_tuning/jobs")
    for path, value, param, code in WRONG_FIELDS:
        body = changed(job_body(*files), path, value)
        _, error = server.error("POST", "/v1/fine_tuning/jobs", json.dumps(body).encode())
        assert (error["param"], error["code"]) == (param or path, code), (path, error)
    assert server.send("GET", "/v1/fine_tuning/jobs") == before, "none was created"
    assert server.is_well()


@pytest.fixture
def deep():
    return b"[" * 100_000 + b"]" * 100_000


def test_bodies_that_are_no_request_are_refused(server, deep):
    chat = b'{"model": "fettle-tiny", "messages": [{"role": "user", "content": "hi"}], %s}'
    for path in ("/v1/fine_tuning/jobs", "/v1/chat/completions", "/v1/fine_tuning/alpha/graders/run"):
        for body, code in (
            (b"", None),
            (b"{", "invalid_json"),
            (b'{"model": NaN}', "invalid_json"),
            (b'{"model": 1' + b"0" * 5000 + b"}", "invalid_json"),
            (b'{"model": "a\x00b"}', "invalid_json"),
            (b'{"model": "a\\u0000b"}', "invalid_json"),
            (b'{"model": "\\ud800"}', "invalid_json"),
            (b"\xff\xfe{\x00}\x00", "invalid_json"),
            (b'{"model": "\xff"}', "invalid_json"),
            (deep, "invalid_json"),
            (b"[]", None),
            (b"7", None),
            (b"null", None),
        ):
            status, error = server.error("POST", path, body)
            assert status == 400, (path, body[:40], status)
            assert error["type"] == "invalid_request_error"
            assert code in (None, error["code"]), (path, body[:40], error)
    for extra, param in (
        (b'"temperature": 1e999', None),
        (b'"temperature": "hot"', "temperature"),
        (b'"n": 10000000000000000000000', "n"),
        (b'"max_tokens": -1', "max_tokens"),
        (b'"seed": 1' + b"0" * 400, "seed"),
        (b'"stream": "yes"', "stream"),
        (b'"frobnicate": 1', "frobnicate"),
    ):
        status, error = server.error("POST", "/v1/chat/completions", chat % extra)
        assert (status, error["param"]) == (400, param), (extra[:40], error)
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert server.error("POST", "/v1/fine_tuning/jobs", b"{}", content_type=content_type)[0] in (400, 415)
    assert server.error("POST", "/v1/files", b"{}")[0] in (400, 415)
    assert server.error("POST", "/v1/files", b"--x", content_type="multipart/form-data; boundary=x")[0] == 400
    assert server.is_well()


def test_strange_paths_and_methods_answer_in_the_envelope(server):
    for path in (
        "/v1/files/../../etc/passwd",
        "/v1/files/..%2F..%2Fetc%2Fpasswd",
        "/v1/files/..%2F..%2Fetc%2Fpasswd/content",
        "/v1/files/%00",
        "/v1/files/%ff%fe",
        "/v1/files/" + "a" * 4000,
        "/v1/fine_tuning/jobs/..%2f..%2f",
        "/v1/fine_tuning/jobs/%2e%2e/events",
        "/v1/fine_tuning/jobs/ftjob-nowhere/checkpoints",
        "/v1/fettle/fine_tuning/jobs/%00/rollouts",
        "/v1/models/..%2F..%2Fetc%2Fpasswd",
        "/v1/models/a%2Fb%2Fc",
        "/v1/models/%252e%252e%252f",
        "/v1/models/%00",
        "/v1/fettle/models/..%2F..%2F/adapter",
        "/v1/uploads/%2F",
        "/v1/nothing",
        "/v1//files",
    ):
        # A null character or broken UTF-8 is refused before there is a route.
        assert server.error("GET", path)[0] in ((400, 404) if "%00" in path or "%ff" in path else (404,)), path
    for method, path in (
        ("PUT", "/v1/files"),
        ("PATCH", "/v1/fine_tuning/jobs"),
        ("DELETE", "/v1/fine_tuning/jobs"),
        ("GET", "/v1/chat/completions"),
        ("GET", "/v1/fine_tuning/jobs/ftjob-nowhere/cancel"),
        ("POST", "/v1/models"),
        ("TRACE", "/v1/models"),
    ):
        assert server.error(method, path, b"{}")[0] == 405, (method, path)
    for query in ("limit=-1", "limit=x", "limit=1" + "0" * 400, "after=nowhere", "metadata[a", "limit=%00"):
        status, answer = server.send("GET", f"/v1/fine_tuning/jobs?{query}")
        assert status < 500, (query, answer)
    assert server.is_well()


LINE = json.dumps(ROW).encode()
# The bytes of a file, the line and code of its first problem.
WRONG_FILES = [
    (b"\n\n", 1, "no_rows"),
    (bytes(range(256)) * 8, 1, "invalid_json"),
    (LINE.decode().encode("utf-16"), 1, "utf16"),
    (LINE + b"\n{}x\n", 2, "invalid_json"),
    (LINE + b"\n[]\n", 2, "not_an_object"),
    (LINE + b'\n{"messages": [], "answer": NaN}\n', 2, "not_a_number"),
    (LINE + b'\n{"answer": 1' + b"0" * 5000 + b"}\n", 2, "number_out_of_range"),
    (LINE + b'\n{"answer": "' + b"x" * (4 * 2**20) + b'"}\n', 2, "line_too_long"),
    (LINE + b"\n" + LINE.replace(b"What", b"\x00"), 2, "invalid_json"),
    (LINE + b"\n" + LINE.replace(b"What", b"\\u0000"), 2, "null_character"),
    (LINE + b"\n" + LINE.replace(b"What", b"\xff"), 2, "invalid_utf8"),
    (LINE + b"\n" + LINE.replace(b"user", b"robot"), 2, "unknown_role"),
    (LINE + b'\n{"prompt": "hi"}\n', 2, "missing_field"),
]


def test_files_that_cannot_be_used_say_line_and_cause(server):
    for content, line, code in WRONG_FILES:
        status, file = server.upload(content)
        assert status == 200, (content[:60], file)
        assert file["status"] == "error", content[:60]
        _, report = server.send("GET", f"/v1/fettle/files/{file['id']}/validation")
        problems = {(example["line"], cause["code"]) for cause in report["causes"] for example in cause["examples"]}
        assert (line, code) in problems, (content[:60], report["causes"])
    status, error = server.upload(b"")
    assert (status, error["error"]["param"]) == (400, "file")
    status, file = server.upload(b"\xef\xbb\xbf" + LINE)
    assert (status, file["status"]) == (200, "processed"), "a byte order mark is skipped"
    assert server.is_well()


def test_rows_that_the_method_or_the_grader_cannot_use_fail_the_job_with_their_line(server):
    good = server.upload_rows([ROW, ROW | {"answer": "3"}])
    ends_with_answer = ROW | {"messages": [*ROW["messages"], {"role": "assistant", "content": "2"}]}
    unusable = server.upload_rows([ROW, ends_with_answer])
    missing = changed(job_body(good, good), f"{GRADER}.reference", "{{item.missing}}")
    broken = server.upload(b"not json")[1]["id"]
    for body, code, words in (
        (job_body(unusable, good), "invalid_training_file", ("line 2", "messages")),
        (job_body(good, unusable), "invalid_validation_file", ("line 2", "messages")),
        (missing, "invalid_training_file", ("line 1", "item.missing")),
        (job_body(broken, good), "invalid_training_file", ("line 1", "JSON")),
    ):
        status, job = server.send("POST", "/v1/fine_tuning/jobs", json.dumps(body).encode())
        assert status == 200, job
        deadline = time.monotonic() + TIMEOUT_S
        while job["status"] == "validating_files":
            assert time.monotonic() < deadline, f"still validating after {TIMEOUT_S} s"
            time.sleep(0.05)
            _, job = server.send("GET", f"/v1/fine_tuning/jobs/{job['id']}")
        assert job["status"] == "failed"
        assert (job["error"]["code"], job["error"]["param"]) == (code, code.removeprefix("invalid_"))
        assert all(word in job["error"]["message"] for word in words), job["error"]
    assert server.is_well()
