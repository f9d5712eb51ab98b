"""Rows, a stored job with rollouts, and a model server that answers what it is told."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

EXACT = {"type": "string_check", "operation": "eq", "input": "{{sample.output_text}}", "reference": "{{item.answer}}"}
CONTAINS = EXACT | {"operation": "like"}
CLOSE = {
    "type": "text_similarity",
    "evaluation_metric": "fuzzy_match",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
}


def row(number, **fields):
    item = {"messages": [{"role": "user", "content": f"What is {number} + 1?"}], "answer": str(number + 1)}
    return item | fields


@pytest.fixture
def rows():
    return [row(number) for number in range(10, 16)]


@pytest.fixture
def upload(scope):
    """`upload(rows)` gives the id of a stored fine-tune file."""
    from fettle_platform.datasets.services import file_create

    def make(items, owner=None):
        content = "".join(json.dumps(item) + "\n" for item in items).encode()
        file = file_create(
            project=(owner or scope).project, purpose="fine-tune", filename="rows.jsonl", source=io.BytesIO(content)
        )
        return file.public_id

    return make


@pytest.fixture
def job_with(api, upload, rows):
    """`job_with(records)`: a job whose stored rollouts are these; gives its id."""
    from fettle_platform.core.storage import get_store
    from fettle_platform.jobs.models import Job, RolloutFile

    schema = pa.schema(
        [("purpose", pa.string()), ("step", pa.int32()), ("source", pa.string()), ("row", pa.int32()),
         ("sample_index", pa.int32()), ("text", pa.string()), ("reasoning", pa.string()), ("tool_calls", pa.string()),
         ("reward", pa.float64())]
    )  # fmt: skip

    def make(records):
        made = api.post(
            "/v1/fine_tuning/jobs",
            {
                "model": "fettle-tiny",
                "training_file": upload(rows),
                "validation_file": upload([row(100)]),
                "method": {"type": "reinforcement", "reinforcement": {"grader": EXACT}},
            },
        ).json()
        base = {"purpose": "train", "step": 1, "source": "training_file", "sample_index": 0}
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([base | record for record in records], schema=schema), sink)
        key = f"jobs/{made['id']}/a1/step-000001/rollouts.parquet"
        blob = get_store().put(key, sink.getvalue())
        RolloutFile.objects.create(
            job=Job.objects.get(public_id=made["id"]),
            first_step=0,
            last_step=9,
            key=key,
            num_rollouts=len(records),
            size_bytes=blob.size_bytes,
            sha256=blob.sha256,
        )
        return made["id"]

    return make


@pytest.fixture
def model_server(change_env):
    """Answers "11" and then "wrong" to every prompt, or with `status` if that is set; remembers what it was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.asked.append(body)
            choices = [{"message": {"content": "11" if i == 0 else "wrong"}} for i in range(body["n"])]
            answer = {"choices": choices} if server.status == 200 else {"error": {"message": "too long"}}
            self.send_response(server.status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.status = [], 200
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    change_env(inference_url=f"http://127.0.0.1:{server.server_address[1]}")
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


class Lab:
    exact, contains, close = EXACT, CONTAINS, CLOSE
    row = staticmethod(row)


@pytest.fixture
def lab():
    return Lab
