"""A job's life in small pieces: files, requests, and a worker that says what it is told to say."""

import io
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fettle_workers.contract import events as contract
from fettle_workers.contract.internal import SequencedEvent

GRADER = {"type": "string_check", "input": "{{sample.output_text}}", "reference": "{{item.answer}}", "operation": "eq"}
DIGEST = "d" * 63
START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def rows(count, *, start=0):
    return "".join(
        f'{{"messages": [{{"role": "user", "content": "What is {i} + 1?"}}], "answer": "{i + 1}"}}\n'
        for i in range(start, start + count)
    ).encode()


@pytest.fixture
def upload(scope):
    """`upload(bytes)` gives the id of a stored fine-tune file."""
    from fettle_platform.datasets.services import file_create

    def make(content, *, purpose="fine-tune", owner=None):
        file = file_create(
            project=(owner or scope).project, purpose=purpose, filename="rows.jsonl", source=io.BytesIO(content)
        )
        return file.public_id

    return make


@pytest.fixture
def body(upload):
    """`body(seed=7)`: the request of a reinforcement job with two good files."""

    def make(owner=None, **fields):
        base = {
            "model": "fettle-tiny",
            "training_file": upload(rows(8), owner=owner),
            "validation_file": upload(rows(4, start=100), owner=owner),
            "seed": 7,
            "method": {"type": "reinforcement", "reinforcement": {"grader": GRADER}},
        }
        return {key: value for key, value in (base | fields).items() if value is not ...}

    return make


@pytest.fixture
def create(api, body):
    """`create(suffix="x")` makes a job through the API and gives its row."""
    from fettle_platform.jobs.models import Job

    def make(**fields):
        response = api.post("/v1/fine_tuning/jobs", body(**fields))
        assert response.status_code == 200, response.json()
        return Job.objects.get(public_id=response.json()["id"])

    return make


@pytest.fixture
def queued(create):
    """`queued()` makes a job whose files are checked."""
    from fettle_platform.jobs.validation import job_validate

    def make(**fields):
        job = create(**fields)
        job_validate(job=job, now=START)
        job.refresh_from_db()
        assert job.status == "queued", job.error_message
        return job

    return make


class Worker:
    """A supervisor and its trainer, as far as the control plane can see them. Time passes only when told to."""

    def __init__(self, job):
        from fettle_platform.jobs import leases

        self.now = START
        self.job = job
        self.claim = leases.job_claim(job_id=job.public_id, attempt=job.attempt, worker="host:1", now=self.now)
        self.attempt = self.claim.attempt
        self.sequence = 0

    def say(self, *events, at=None):
        """Send events under the next sequence numbers; gives the wish that comes back."""
        from fettle_platform.jobs.intake import job_apply_events

        batch = []
        for event in events:
            self.sequence += 1
            batch.append(SequencedEvent(sequence=self.sequence, event=event))
        answer = job_apply_events(job=self.job, attempt=self.attempt, events=batch, now=at or self.now)
        self.job.refresh_from_db()
        return answer.desired

    def beat(self, after_s=0):
        from fettle_platform.jobs.leases import job_heartbeat

        self.now += timedelta(seconds=after_s)
        return job_heartbeat(job=self.job, attempt=self.attempt, now=self.now).desired

    def start(self, total_steps=4, resumed_from=None):
        plan = {"n_epochs": 2, "batch_size": 4, "group_size": 8, "lr": 1e-3}
        return self.say(contract.Started(plan=plan, total_steps=total_steps, resumed_from_step=resumed_from))

    def train(self, first, last, total_steps=4, *, evaluated=False):
        """Report steps; with `evaluated` the last one spent time on an evaluation, whose result comes next."""
        for number in range(first, last + 1):
            self.say(step(number, total_steps, eval_s=0.25 if evaluated and number == last else 0.0))

    def commit(self, number, *, mean=None, rollouts=0, digest=None):
        """Evaluate (when `mean` is given), upload a checkpoint and say so: the trainer's order after a step."""
        if mean is not None:
            self.say(evaluation(number, mean))
        self.say(
            checkpoint(self.job, self.attempt, number, candidate=mean is not None, rollouts=rollouts, digest=digest)
        )

    def store_final(self, *, rollouts=4, store_prefix=None):
        """Say that the final measurements are in the store, as the trainer does just before it finishes."""
        from fettle_platform.core.storage import get_store

        prefix = f"jobs/{self.job.public_id}/a{self.attempt}/final"
        blob = get_store().put(f"{prefix}/rollouts.parquet", rollout_bytes(f"final {self.attempt}", rollouts))
        self.say(
            contract.RolloutsStored(
                directory="checkpoints/final",
                name="rollouts.parquet",
                entry=contract.FileEntry(size_bytes=blob.size_bytes, sha256=blob.sha256),
                first_step=0,
                last_step=4,
                num_rollouts=rollouts,
                store_prefix=store_prefix or prefix,
            )
        )

    def finish(self, chosen=4, verdict="improved"):
        self.say(finished(chosen, verdict))


def step(number, total_steps=4, eval_s=0.0):
    return contract.StepDone(
        metrics=contract.StepMetrics(
            step=number,
            total_steps=total_steps,
            epoch=number / 2,
            lr=0.001,
            loss=0.25,
            train_reward_mean=0.5,
            train_reward_std=0.25,
            graders=(
                contract.GraderMetrics(
                    name="string_check",
                    type="string_check",
                    train_reward_mean=0.5,
                    train_errors={"sample_parse_error": 2},
                    train_latency_s_mean=0.001,
                ),
            ),
            kl_nats=0.01,
            completion_tokens_mean=12.0,
            reasoning_tokens_mean=3.0,
            unresponsive_share=0.0,
            num_completions=32,
            num_failed_grades=2,
            trained_tokens=number * 100,
            eta_s=8.0,
            timing=contract.Timing(sampling_s=1.0, grading_s=0.5, training_s=2.0, eval_s=eval_s, total_s=3.5),
        )
    )


def evaluation(number, mean):
    return contract.EvaluationDone(
        evaluation=contract.Evaluation(
            step=number,
            mean=mean,
            standard_error=0.125,
            kl_nats=0.01 * number,
            num_items=4,
            samples_per_item=2,
            in_sample=False,
            item_means=(mean, mean, None, mean),
            graders=(
                contract.GraderMetrics(
                    name="string_check",
                    type="string_check",
                    valid_reward_mean=mean,
                    valid_errors={"sample_parse_error": 1},
                ),
            ),
            completion_tokens_mean=11.0,
            reasoning_tokens_mean=2.0,
        )
    )


def checkpoint(job, attempt, number, *, candidate=True, rollouts=0, digest=None):
    """Writes the files a supervisor would have uploaded, and gives the event."""
    from fettle_platform.core.storage import get_store

    store = get_store()
    digest = digest or f"{number:064x}"
    prefix = f"jobs/{job.public_id}/a{attempt}/step-{number:06d}"
    files = {}
    adapter = {"adapter_config.json": b"{}", "adapter_model.safetensors": f"weights {number}".encode()}
    for name, content in adapter.items():
        blob = store.put(f"adapters/{digest}/{name}", content)
        files[f"adapter/{name}"] = contract.FileEntry(size_bytes=blob.size_bytes, sha256=blob.sha256)
    store.put(f"adapters/{digest}/manifest.json", b"{}")
    state = {"state.safetensors": b"moments", "state.json": b"{}", "rollouts.parquet": rollout_bytes(number, rollouts)}
    for name, content in state.items():
        blob = store.put(f"{prefix}/{name}", content)
        files[name] = contract.FileEntry(size_bytes=blob.size_bytes, sha256=blob.sha256)
    manifest = contract.CheckpointManifest(
        step=number, adapter_digest=digest, files=files, first_rollout_step=max(0, number - 1), num_rollouts=rollouts
    )
    return contract.CheckpointCommitted(
        step=number, directory=f"checkpoints/{number}", manifest=manifest, candidate=candidate, store_prefix=prefix
    )


def rollout_bytes(number, count):
    """`count` rollouts: training, half of step number-1 and half of step number; or "final 1", half of 0 and 4."""
    steps = (number - 1, number) if isinstance(number, int) else (0, 4)
    table = pa.Table.from_pylist(
        [
            {
                "purpose": "train" if isinstance(number, int) else "report",
                "step": steps[0] if i < count // 2 else steps[1],
                "row": i % 2,
                "text": f"answer {number}.{i}",
                "ids": [1, 2],
                "reward": 1.0,
                "sub_rewards": '{"a": 1.0}',
            }
            for i in range(count)
        ],
        schema=pa.schema(
            [
                ("purpose", pa.string()),
                ("step", pa.int32()),
                ("row", pa.int32()),
                ("text", pa.string()),
                ("ids", pa.list_(pa.int32())),
                ("reward", pa.float64()),
                ("sub_rewards", pa.string()),
            ]
        ),
    )
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def finished(chosen=4, verdict="improved", digest=None):
    return contract.Finished(
        selection=contract.Selection(
            verdict=verdict,
            chosen_step=chosen,
            chosen_adapter_digest=digest or f"{chosen:064x}",
            rule="lowest KL within one standard error of the best",
            base_mean=0.25,
            chosen_mean=0.75,
            gain=0.5,
            gain_low=0.25,
            gain_high=0.75,
            num_items=4,
            samples_per_item=2,
            in_sample=False,
            measured_on="4 held-out rows",
            kl_nats=0.04,
            candidates=(
                contract.Candidate(
                    step=chosen,
                    adapter_digest=digest or f"{chosen:064x}",
                    mean=0.75,
                    standard_error_vs_best=0.0,
                    kl_nats=0.04,
                    eligible=True,
                    reason="the best",
                ),
            ),
            table=contract.ScoreTable(
                method="corrected",
                rows=(0, 1, 2, 3),
                kl_budget_nats=0.5,
                seed=7,
                candidates=(contract.CandidateScores(step=chosen, kl_nats=0.04, item_means=(1.0, None, 0.5, 0.75)),),
            ),
        ),
        trained_tokens=400,
        reason="all steps are done",
    )


class Said:
    """The builders above, for tests: conftest modules cannot be imported."""

    step, evaluation, checkpoint, finished = map(staticmethod, (step, evaluation, checkpoint, finished))
    rows, grader, now = staticmethod(rows), GRADER, START
    Started, Message, Failed, Stopped = contract.Started, contract.Message, contract.Failed, contract.Stopped


@pytest.fixture
def said():
    return Said


@pytest.fixture
def worker(queued):
    """`worker(job)` claims a job; without one it makes one first."""

    def claim(job=None, **fields):
        return Worker(job or queued(**fields))

    return claim


@pytest.fixture
def succeeded(worker):
    """A worker whose job has ended well after four steps with two evaluations."""

    def run(job=None, **fields):
        done = worker(job, **fields)
        done.start()
        done.commit(0, mean=0.25)
        done.train(1, 2, evaluated=True)
        done.commit(2, mean=0.5, rollouts=4)
        done.train(3, 4, evaluated=True)
        done.commit(4, mean=0.75, rollouts=4)
        done.finish()
        return done

    return run
