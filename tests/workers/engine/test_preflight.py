"""Looking at the base before a job, on a random model; and a job that takes the answers over."""

import math

import pyarrow.parquet as pq
import pytest

from fettle_graders.grade import Grade, GradeErrors
from fettle_workers.contract.events import EVENT
from fettle_workers.contract.preflight import PreflightSettings, Step0Ref
from fettle_workers.engine import preflight as module
from fettle_workers.engine.preflight import preflight, spread
from fettle_workers.engine.train import train

ASKED = {"max_completion_tokens": "auto", "max_steps": 3, "eval_interval": 2, "eval_samples": 3}


class Graders:
    def __init__(self, score):
        self.score = score

    needs_group = False

    def submit(self, item, samples):
        grades = [self.grade_one(item, sample) for sample in samples]
        return lambda: grades

    def grade_one(self, item, sample):
        score = self.score(item, sample)
        failed = GradeErrors.of("other_error") if score is None else GradeErrors()
        return Grade(score, failed, message="the grader broke" if score is None else None)


def look(make_job, *, num_rows=4, samples=8, **options):
    job, source, events = make_job(**({"max_steps": 3} | options))
    return preflight(job, source, PreflightSettings(num_rows=num_rows, samples_per_row=samples)), job, events


def stored(job, events):
    (event,) = events.of("rollouts")
    path = job.checkpoints.folder(0).parents[1] / event.directory / event.name
    return event, path, pq.read_table(path).to_pylist()


def by_prompt(scores):
    """Grades by the prompt: a number for all its answers, or "mixed" by the parity of their length."""

    def score(item, sample):
        wanted = scores[item["messages"][0]["content"]]
        return len(sample.output_text) % 2 if wanted == "mixed" else wanted

    return Graders(score)


def test_rows_are_split_into_dead_teachable_and_solved(make_job):
    rows = {"q0": 0.0, "q1": 1.0, "q2": "mixed", "q3": None}
    held_out = {f"q{n}": 1.0 for n in range(100, 106)}
    done, *_ = look(make_job, graders=by_prompt(rows | held_out))
    report = done.report
    assert [(row.row, row.state) for row in report.rows] == [
        (0, "dead"), (1, "solved"), (2, "teachable"), (3, "ungraded"),
    ]  # fmt: skip
    counts = report.counts
    assert (counts.dead, counts.solved, counts.teachable, counts.ungraded) == (1, 1, 1, 1)
    assert (report.num_answers, report.num_graded) == (32, 24)
    assert report.grader.failed_share == 0.25
    assert report.grader.messages == ("the grader broke",)
    assert report.rows[3].mean is None
    third = report.rows[2]
    assert third.mean == third.num_passed / 8
    # pass@1: the mean over the graded rows
    assert report.pass_at[0].k == 1
    assert report.pass_at[0].estimate.value == pytest.approx((0 + 1 + third.mean) / 3)
    assert [entry.k for entry in report.pass_at] == [1, 2, 4, 8]
    assert [share.group_size for share in report.signal] == [4, 8, 16, 32]
    assert [share.group_size for share in report.signal if share.planned] == [4]  # the job's own group size
    assert report.held_out.mean == 1.0
    assert report.verdict == "dont"  # a quarter of all grades failed
    assert report.findings[0].code == "grader_fails"
    assert EVENT.validate_json(done.model_dump_json()) == done


def test_every_answer_is_stored_and_none_has_an_advantage(make_job):
    done, job, events = look(make_job, samples=4)
    event, _, records = stored(job, events)
    assert event.num_rollouts == len(records) == job.plan.select_items * job.plan.eval_samples + 4 * 4
    assert {record["purpose"] for record in records} == {"eval", "preflight"}
    assert all(record["advantage"] is None for record in records)
    means = {row.row: row.mean for row in done.report.rows}
    for row, mean in means.items():
        rewards = [r["reward"] for r in records if r["purpose"] == "preflight" and r["row"] == row]
        assert math.fsum(rewards) / len(rewards) == pytest.approx(mean)
    assert not events.of("checkpoint")
    assert not job.pending


def test_nothing_to_learn_is_a_dont_with_what_to_do(make_job):
    done, *_ = look(make_job, graders=Graders(lambda item, sample: 0.0))
    assert done.report.verdict == "dont"
    assert done.report.findings[0].code == "mostly_dead"
    assert "easier rows" in done.report.findings[0].next_step
    assert done.report.signal[0].estimate.value == 0
    solved, *_ = look(make_job, graders=Graders(lambda item, sample: 1.0), work=None)
    assert (solved.report.verdict, solved.report.findings[0].code) == ("dont", "mostly_solved")


def test_a_grader_that_always_fails_is_reported_and_fails_nothing(make_job):
    done, *_ = look(make_job, graders=Graders(lambda item, sample: None))
    report = done.report
    assert (report.verdict, report.findings[0].code) == ("dont", "grader_fails")
    assert (report.rewards, report.held_out, report.pass_at, report.signal) == (None, None, (), ())
    assert done.step0 is None


def test_the_time_of_the_job_is_a_range_around_what_it_takes(make_job):
    done, job, _ = look(make_job, samples=8)
    duration = done.report.duration
    assert duration.total_steps == job.plan.total_steps == 3
    assert 0 < duration.low_s < duration.high_s
    speed = done.report.speed
    assert speed.tokens_per_s > 0
    assert speed.training_tokens_per_s > 0
    assert 0 < done.report.memory.peak_bytes < done.report.memory.total_bytes


def test_a_cancel_between_rows_stops_it(make_job):
    class Cancel:
        def poll(self):
            return "cancel"

    stopped, *_ = look(make_job, control=Cancel())
    assert (stopped.type, stopped.reason) == ("stopped", "cancelled")


def test_an_update_that_does_not_fit_is_a_finding(make_job, monkeypatch):
    def no_room(*arguments, **options):
        raise module.torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "update_policy", no_room)
    done, *_ = look(make_job)
    assert "memory" in [finding.code for finding in done.report.findings]
    assert done.report.speed.training_tokens_per_s is None


def test_rows_are_taken_evenly():
    assert spread([0, 1, 2, 3, 4, 5, 6], 3) == [0, 3, 6]
    assert spread([0, 1], 5) == [0, 1]


@pytest.fixture
def reused(make_job, tmp_path):
    """A preflight, then the same job with what it found: (job, source, events)."""

    def make(*, change=lambda path: path, **options):
        done, first, events = look(make_job, work=tmp_path / "preflight", **ASKED)
        event, path, _ = stored(first, events)
        ref = Step0Ref(
            preflight_id="preflight-1", key="k", sha256=event.entry.sha256, size_bytes=1, settings=done.step0
        )
        return make_job(work=tmp_path / "reused", step0=change(path), step0_ref=ref, **(ASKED | options))

    return make


def adapters(job, source, events):
    finished = train(job, source)
    return [event.manifest.adapter_digest for event in events.of("checkpoint")], finished.selection


def test_a_job_with_reuse_ends_with_the_same_bytes_as_one_without(make_job, reused, tmp_path):
    plain = make_job(work=tmp_path / "plain", **ASKED)
    again = reused()
    assert again[1].step0 is not None
    assert any("takes over 18 graded answers" in event.message for event in again[2].of("message"))
    assert again[0].plan == plain[0].plan
    digests, selection = adapters(*plain)
    digests_again, selection_again = adapters(*again)
    assert digests_again == digests
    assert selection_again == selection
    assert _evaluation(again) == _evaluation(plain)


def _evaluation(made):
    """What was said of step 0, but for how long the grader took."""
    event = made[2].of("evaluation")[0].evaluation
    graders = [grader.model_copy(update={"valid_latency_s_mean": None}) for grader in event.graders]
    return event.model_copy(update={"graders": tuple(graders)})


def test_a_job_with_reuse_does_not_sample_at_step_0(reused, monkeypatch):
    job, source, events = reused()
    evaluated = []
    sample = source.sampler.sample

    def watched(requests, params):
        evaluated.append(bool(events.of("evaluation")))
        return sample(requests, params)

    monkeypatch.setattr(source.sampler, "sample", watched)
    train(job, source)
    assert evaluated
    assert all(evaluated)  # whatever was sampled came after the evaluation of step 0
    assert pq.read_table(job.checkpoints.folder(0) / "rollouts.parquet").num_rows == 6 * 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"eval_samples": 2}, "eval_samples was 3 and is 2"),
        ({"temperature": 0.7}, "temperature was 1.0 and is 0.7"),
        ({"validation": [{"messages": [{"role": "user", "content": f"w10{n}"}], "answer": "a"} for n in range(6)]},
         "reads differently"),
        ({"change": lambda path: path.with_name("gone")}, "no longer in the store"),
    ],
)  # fmt: skip
def test_answers_that_are_not_the_jobs_own_are_not_taken_over(reused, options, reason):
    _, source, events = reused(**options)
    assert source.step0 is None
    assert any(reason in event.message and event.level == "warn" for event in events.of("message"))
