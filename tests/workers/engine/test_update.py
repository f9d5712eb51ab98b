"""Several updates on one batch of completions."""

import pyarrow.parquet as pq
import pytest

from fettle_workers.engine.credit import MIN_ADVANTAGE
from fettle_workers.engine.train import train
from fettle_workers.engine.update import increments


def test_parts_are_nearly_equal_in_order_and_never_empty():
    assert [list(part) for part in increments(list(range(10)), 4)] == [[0, 1], [2, 3, 4], [5, 6, 7], [8, 9]]
    assert [list(part) for part in increments([1, 2], 4)] == [[1], [2]]
    assert increments([], 3) == []


def run(make_job, tmp_path, updates, **asked):
    settings = {"max_steps": 3, "eval_interval": 3, "group_size": 8, "learning_rate_multiplier": 0.1} | asked
    job, source, events = make_job(work=tmp_path / str(updates), updates_per_rollout=updates, **settings)
    train(job, source)
    return job, events


def test_each_step_takes_as_many_updates_as_asked_for(make_job, tmp_path, letters):
    job, events = run(make_job, tmp_path, 3, graders=letters)
    assert job.learner.num_updates == 9
    assert [event.metrics.num_completions for event in events.of("step")] == [3 * 4 * 2 * 8] * 3  # 4 rows in 2 groups
    # Only the first update of a step compares sampler and learner under the same weights.
    assert all(event.metrics.mismatch_kl_nats < 1e-6 for event in events.of("step"))
    assert run(make_job, tmp_path, 1, graders=letters)[0].learner.num_updates == 3


def test_the_warm_up_counts_updates(make_job, tmp_path):
    # 20 steps warm up over 2: updates at 1/8, 2/8, 3/8, 4/8 of the rate, then to its full height. The last is told.
    job, events = run(make_job, tmp_path, 4, max_steps=20, eval_interval=20)
    rates = [event.metrics.lr / job.plan.learning_rate for event in events.of("step")]
    assert rates[:3] == [pytest.approx(0.5), pytest.approx(1.0), pytest.approx(1.0)]


def test_completions_that_hardly_push_are_left_out_only_with_several_updates(make_job, tmp_path, letters):
    def smallest(updates):
        job, _ = run(make_job, tmp_path, updates, graders=letters, group_size=16)
        rows = pq.read_table(job.checkpoints.folder(3) / "rollouts.parquet").to_pylist()
        return min(abs(row["advantage"]) for row in rows if row["advantage"] is not None)

    assert smallest(1) < MIN_ADVANTAGE <= smallest(2)
