"""The loop on a random model: it learns, it notices when nothing can be learned, it masks what was not graded."""

import hashlib
import math
from zlib import crc32

import pyarrow.parquet as pq
import pytest

from fettle_graders.grade import Grade, GradeErrors
from fettle_workers.contract.events import EVENT
from fettle_workers.engine import credit, select
from fettle_workers.engine.errors import JobFailed
from fettle_workers.engine.train import train

NOTHING = {"type": "string_check", "name": "never", "operation": "eq", "input": "x", "reference": "y"}


class Graders:
    """Grades by a function of the answer; raises nothing, as the port demands."""

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


def share_of_letters(item, sample):
    """Dense and easy to climb: how much of the answer is lower-case letters."""
    text = sample.output_text
    return sum("a" <= char <= "z" for char in text) / max(1, len(text))


def rollouts_of(job, event):
    return pq.read_table(job.checkpoints.folder(event.step) / "rollouts.parquet")


def test_a_run_says_everything_in_order(make_job):
    job, source, events = make_job()
    finished = train(job, source)
    kinds = [event.type for event in events.events if event.type != "message"]
    step = ["step", "step", "evaluation", "checkpoint"]
    assert kinds == ["started", "evaluation", "checkpoint", *step, *step, "rollouts"]
    assert finished.reason == "all steps are done"
    assert finished.selection.chosen_adapter_digest in events.of("checkpoint")[-1].manifest.candidates.values()
    for event in [*events.events, finished]:
        assert EVENT.validate_json(event.model_dump_json()) == event


def test_training_raises_the_reward_on_rows_it_never_saw(make_job):
    job, source, _ = make_job(
        graders=Graders(share_of_letters), max_steps=12, eval_interval=3, group_size=16, eval_samples=8,
        validation=[{"messages": [{"role": "user", "content": f"v{n}"}]} for n in range(8)],
    )  # fmt: skip
    selection = train(job, source).selection
    assert selection.verdict == "improved"
    assert selection.chosen_step > 0
    assert selection.gain > 0.1
    assert selection.gain_low > 0
    assert selection.examples


def test_a_random_reward_is_not_called_an_improvement(make_job, simple_rows):
    job, source, _ = make_job(
        graders=Graders(lambda item, sample: crc32(repr((item, sample.output_text)).encode()) % 2), max_steps=6,
        group_size=8, eval_samples=8, validation=simple_rows(16, 100),
    )  # fmt: skip
    selection = train(job, source).selection
    assert (selection.verdict, selection.chosen_step) == ("no_measurable_gain", 0)
    assert selection.gain == selection.gain_low == selection.gain_high == 0
    assert selection.kl_nats == 0


def test_equal_rewards_end_the_job_and_say_what_to_do(make_job):
    job, source, events = make_job(grader=NOTHING)
    with pytest.raises(JobFailed, match=r"all 0.*make the rows easier") as ended:
        train(job, source)
    assert ended.value.code == "no_learning_signal"
    assert events.of("step")[-1].metrics.informative_group_share == 0


def test_a_grader_that_always_fails_ends_the_job_before_any_training(make_job):
    job, source, events = make_job(graders=Graders(lambda item, sample: None), eval_samples=8)
    with pytest.raises(JobFailed, match="the grader broke") as ended:
        train(job, source)
    assert ended.value.code == "grader_error_rate_exceeded"
    assert not events.of("step")


def test_ungraded_cut_off_and_flat_completions_train_nothing(make_job, monkeypatch):
    def score(item, sample):
        text = sample.output_text
        if item["messages"][0]["content"] == "q0":
            return 1.0
        return None if "q" in text else len(set(text)) / 12

    job, source, events = make_job(graders=Graders(score), group_size=8, max_steps=3, max_completion_tokens=30)
    monkeypatch.setattr(credit, "MAX_TRUNCATION", 2.0)  # few end by themselves here: keep to the masking rule
    train(job, source)
    rows = [
        row
        for event in events.of("checkpoint")
        for row in rollouts_of(job, event).to_pylist()
        if row["purpose"] == "train"
    ]
    assert len(rows) >= 3 * 4 * 8
    assert any(row["advantage"] is not None for row in rows)
    for row in rows:
        graded = row["reward"] is not None and not math.isnan(row["reward"])
        untrained = not graded or row["finish_reason"] == "length" or row["row"] == 0
        if untrained:
            assert row["advantage"] is None
        assert (row["error"] == "the grader broke") == (row["reward"] is None)


def test_every_completion_is_stored_with_its_tokens(make_job):
    job, source, events = make_job()
    train(job, source)
    told = [event.manifest for event in events.of("checkpoint")]
    tables = [rollouts_of(job, event) for event in events.of("checkpoint")]
    assert [manifest.num_rollouts for manifest in told] == [table.num_rows for table in tables]
    trained = [row for table in tables for row in table.to_pylist() if row["purpose"] == "train"]
    assert {row["step"] for row in trained} == {1, 2, 3, 4}
    assert all(row["policy_version"] == row["step"] - 1 for row in trained)
    assert all(len(row["ids"]) == len(row["logprobs"]) == row["num_tokens"] for row in trained)
    keys = {(row["step"], row["row"], row["sample_index"]) for row in trained}
    assert len(keys) == len(trained)


def test_the_answers_of_the_final_measurements_are_stored_too(make_job):
    job, source, events = make_job()
    selection = train(job, source).selection
    (event,) = events.of("rollouts")
    path = job.checkpoints.folder(0).parents[1] / event.directory / event.name
    assert (event.directory, path.stat().st_size) == ("checkpoints/final", event.entry.size_bytes)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == event.entry.sha256
    rows = pq.read_table(path).to_pylist()
    # Steps 0, 2 and 4 had 2 answers a row, then get 2 more, then 12; step 0 and the rule's choice are shown anew.
    looked = [row["step"] for row in rows if row["purpose"] == "final"]
    assert looked == [step for more in (2, 12) for step in (0, 2, 4) for _ in range(job.plan.select_items * more)]
    measured = [row["step"] for row in rows if row["purpose"] == "report"]
    each = job.plan.report_items
    assert measured[:each] == [0] * each
    assert len(measured) in (each, 2 * each)
    assert (event.num_rollouts, event.first_step, event.last_step) == (len(rows), 0, 4)
    assert len(looked) + len(measured) == len(rows)
    stored = [row for event in events.of("checkpoint")[:1] for row in rollouts_of(job, event).to_pylist()]
    base = [row["reward"] for row in (*stored, *rows) if row["purpose"] in ("eval", "final") and row["step"] == 0]
    assert len(base) == 16 * job.plan.select_items
    assert math.fsum(base) / len(base) == pytest.approx(selection.base_mean)
    assert not job.pending


def test_with_rows_to_spare_the_gain_is_measured_on_rows_that_chose_nothing(make_job, simple_rows, monkeypatch):
    monkeypatch.setattr(select, "MIN_ITEMS_FOR_REPORT_SPLIT", 30)
    job, source, events = make_job(
        rows=simple_rows(4), validation=simple_rows(30, 100), batch_size=4, max_steps=2, eval_interval=1
    )
    selection = train(job, source).selection
    table = selection.table
    assert table.method == "fresh_rows"
    assert (table.rows, table.report_rows) == (tuple(range(0, 30, 2)), tuple(range(1, 30, 2)))
    (event,) = events.of("rollouts")
    stored = pq.read_table(job.checkpoints.folder(0).parents[1] / event.directory / event.name).to_pylist()
    base = [row["reward"] for row in stored if row["purpose"] == "report" and row["step"] == 0]
    assert len(base) == 15 * job.plan.final_samples
    assert math.fsum(base) / len(base) == pytest.approx(selection.base_mean)


def test_cancel_stops_at_a_step_boundary_without_a_commit(make_job):
    class AfterTwo:
        polls = 0

        def poll(self):
            self.polls += 1
            return "cancel" if self.polls == 2 else None

    job, source, events = make_job(control=AfterTwo())
    stopped = train(job, source)
    assert (stopped.reason, stopped.step) == ("cancelled", 1)
    assert [event.step for event in events.of("checkpoint")] == [0]


def test_one_row_is_learned_and_delivered_and_nothing_is_claimed(make_job):
    rows = [{"messages": [{"role": "user", "content": "q"}]}]
    job, source, _ = make_job(
        rows=rows, validation=rows, graders=Graders(share_of_letters), max_steps=12, eval_interval=3, group_size=16,
        eval_samples=8,
    )  # fmt: skip
    selection = train(job, source).selection
    assert selection.num_items == 1
    assert selection.verdict == "no_measurable_gain"  # one row proves nothing about others
    assert selection.chosen_step > 0  # but it was learned, and that is delivered
    assert selection.gain > 0


def test_a_step_that_goes_too_far_is_shortened(make_job):
    job, source, events = make_job(graders=Graders(share_of_letters), learning_rate_multiplier=300, max_steps=3)
    train(job, source)
    assert any("was shortened" in event.message for event in events.of("message"))
    assert all(event.metrics.kl_nats < 1 for event in events.of("step"))


def test_kl_penalty_holds_the_policy_near_the_base(make_job):
    def last_kl(kl_coef):
        job, source, events = make_job(
            graders=Graders(share_of_letters), kl_coef=kl_coef, max_steps=16, eval_interval=16, group_size=16,
            work=None, early_stopping=False, learning_rate_multiplier=2,
        )  # fmt: skip
        train(job, source)
        return events.of("evaluation")[-1].evaluation.kl_nats

    assert last_kl(5) < 0.5 * last_kl(0)
