"""What a page that shows jobs reads: lists with curves, thinned series, filtered events and rollouts."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fettle_platform.jobs.curves import thinned
from fettle_platform.jobs.models import Checkpoint, JobStep, RolloutFile

JOBS = "/v1/fettle/fine_tuning/jobs"


def test_thinning_keeps_the_ends_and_every_spike():
    points = [(step, 1.0) for step in range(1000)]
    points[501] = (501, 9.0)
    points[777] = (777, -9.0)
    kept = thinned(points, 20)
    assert len(kept) <= 20
    assert (kept[0], kept[-1]) == ((0, 1.0), (999, 1.0))
    assert {(501, 9.0), (777, -9.0)} <= set(kept)
    assert kept == sorted(kept)
    assert thinned(points[:20], 20) == points[:20]


def test_metrics_are_series_and_evaluations(api, succeeded):
    job = succeeded().job
    found = api.get(f"{JOBS}/{job.public_id}/metrics").json()
    series = {one["name"]: one["points"] for one in found["series"]}
    assert [step for step, _ in series["train_reward_mean"]] == [1, 2, 3, 4]
    total = [value for _, value in series["total_s"]]
    assert [value for _, value in series["elapsed_s"]] == pytest.approx([sum(total[: i + 1]) for i in range(4)])
    assert [name for name in series if name.startswith("grader/")]
    assert [(one["step"], one["mean"]) for one in found["evaluations"]] == [(0, 0.25), (2, 0.5), (4, 0.75)]
    assert "item_means" not in found["evaluations"][0]
    later = api.get(f"{JOBS}/{job.public_id}/metrics?after=2").json()
    assert [step for step, _ in next(s for s in later["series"] if s["name"] == "elapsed_s")["points"]] == [3, 4]
    assert [one["step"] for one in later["evaluations"]] == [4]
    part = api.get(f"{JOBS}/{job.public_id}/metrics?after=1&until=3").json()
    elapsed = next(one for one in part["series"] if one["name"] == "elapsed_s")["points"]
    assert elapsed == [[2, sum(total[:2])], [3, sum(total[:3])]]
    assert ([one["step"] for one in part["evaluations"]], part["last_step"]) == ([2], 3)


def test_metrics_that_did_not_change_are_not_sent_again(api, worker):
    run = worker()
    run.start()
    run.train(1, 2)
    path = f"{JOBS}/{run.job.public_id}/metrics"
    first = api.get(path)
    same = api.get(path, HTTP_IF_NONE_MATCH=first["ETag"])
    assert (same.status_code, same.content) == (304, b"")
    run.train(3, 3)
    again = api.get(path, HTTP_IF_NONE_MATCH=first["ETag"])
    assert again.status_code == 200
    assert again.json()["last_step"] == 3


def test_a_look_at_what_is_new_reads_only_that(api, worker):
    """Steps that are done again begin where the step before them ended."""
    run = worker()
    run.start()
    run.train(1, 3)
    path = f"{JOBS}/{run.job.public_id}/metrics"
    total = JobStep.objects.get(job=run.job, step=1).metrics["timing"]["total_s"]
    JobStep.objects.filter(job=run.job, step__lt=3).update(metrics={"trained_tokens": "never read"})
    found = api.get(f"{path}?after=2").json()
    assert [one["points"] for one in found["series"] if one["name"] == "elapsed_s"] == [[[3, pytest.approx(3 * total)]]]
    run.start(resumed_from=1)
    run.train(2, 2)
    found = api.get(f"{path}?after=1").json()
    assert [one["points"] for one in found["series"] if one["name"] == "elapsed_s"] == [[[2, pytest.approx(2 * total)]]]


def test_the_list_shows_the_held_out_curve_and_the_best(api, succeeded, create):
    done = succeeded(suffix="first").job
    waiting = create(suffix="second")
    shown = api.get(JOBS).json()["data"]
    assert [job["id"] for job in shown] == [waiting.public_id, done.public_id]
    assert shown[0]["progress"] == {"held_out": [], "best": None}
    assert shown[1]["progress"]["held_out"] == [[0, 0.25], [2, 0.5], [4, 0.75]]
    assert (shown[1]["progress"]["best"]["step"], shown[1]["progress"]["best"]["mean"]) == (4, 0.75)


def test_the_list_is_one_query_for_the_curves_of_all(api, create, django_assert_max_num_queries):
    for _ in range(4):
        create()
    with django_assert_max_num_queries(8):
        assert len(api.get(JOBS).json()["data"]) == 4


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("text=FIRST", ["first"]),
        ("text=nobody", []),
        ("status=succeeded", ["first"]),
        ("status=validating_files,failed", ["second"]),
        ("model=fettle-tiny", ["second", "first"]),
        ("model=other", []),
    ],
)
def test_jobs_are_found_by_name_status_and_model(api, succeeded, create, query, names):
    succeeded(suffix="first")
    create(suffix="second")
    assert [job["user_provided_suffix"] for job in api.get(f"{JOBS}?{query}").json()["data"]] == names


def test_a_foreign_project_lists_none_of_them(foreign_api, create):
    create()
    assert foreign_api.get(JOBS).json()["data"] == []
    assert foreign_api.get("/v1/fettle/usage").json()["num_jobs"] == 0


def test_usage_sums_up_what_jobs_took_and_keep(api, succeeded, create):
    done = succeeded(suffix="first").job
    create(suffix="second")
    used = api.get("/v1/fettle/usage").json()
    waiting, first = used["jobs"]
    assert (waiting["name"], waiting["working_s"], waiting["checkpoints_bytes"]) == ("second", 0, 0)
    steps = JobStep.objects.filter(job=done, metrics__isnull=False)
    assert first["working_s"] == pytest.approx(sum(step.metrics["timing"]["total_s"] for step in steps))
    files = RolloutFile.objects.filter(job=done)
    assert first["num_rollouts"] == sum(file.num_rollouts for file in files) > 0
    assert first["rollouts_bytes"] == sum(file.size_bytes for file in files)
    stored = sum(
        entry["size_bytes"]
        for checkpoint in Checkpoint.objects.filter(job=done)
        for path, entry in checkpoint.manifest["files"].items()
        if path.startswith("adapter/") or (checkpoint.has_state and path.startswith("state."))
    )
    assert first["checkpoints_bytes"] == stored > 0
    assert used["total"] == {name: first[name] for name in used["total"]}
    assert (used["num_jobs"], used["files"]["count"]) == (2, len(api.get("/v1/files").json()["data"]))


def test_events_are_found_by_level_kind_and_text(api, worker, said):
    run = worker()
    run.start()
    run.say(said.Message(level="warn", message="Entropy fell", code="entropy_collapsed", step=2, values={"x": 1.0}))
    run.train(1, 2)
    path = f"/v1/fine_tuning/jobs/{run.job.public_id}/events"
    warned = api.get(f"{path}?level=warn").json()["data"]
    assert [(event["message"], event["data"]["step"]) for event in warned] == [("Entropy fell", 2)]
    assert [event["message"] for event in api.get(f"{path}?text=entropy").json()["data"]] == ["Entropy fell"]
    assert {event["type"] for event in api.get(f"{path}?type=metrics").json()["data"]} == {"metrics"}
    page = api.get(f"{path}?type=message&limit=1").json()
    rest = api.get(f"{path}?type=message&limit=100&after={page['last_id']}").json()["data"]
    assert [event["type"] for event in rest] == ["message"] * len(rest)
    assert page["data"][0]["id"] not in [event["id"] for event in rest]


@pytest.fixture
def rolled_out(worker):
    """A job with two rows over two steps: rewards (0, 1) and (0, none) at step 1, (1, 1) and (0.5, 0.5) at step 2."""
    from fettle_platform.core.storage import get_store
    from fettle_platform.jobs.models import RolloutFile

    run = worker()
    run.start()
    run.commit(2, mean=0.5, rollouts=2)
    rewards = [(1, 0, 0.0), (1, 0, 1.0), (1, 1, 0.0), (1, 1, None), (2, 0, 1.0), (2, 0, 1.0), (2, 1, 0.5), (2, 1, 0.5)]
    table = pa.Table.from_pylist(
        [
            {"purpose": "train", "source": "training_file", "step": step, "row": row, "reward": reward,
             "text": f"The Answer {number}", "reasoning": "HMM" if number == 3 else None}
            for number, (step, row, reward) in enumerate(rewards)
        ]
    )  # fmt: skip
    sink = io.BytesIO()
    pq.write_table(table, sink)
    file = RolloutFile.objects.get(job=run.job)
    get_store().put(file.key + ".new", sink.getvalue())
    RolloutFile.objects.filter(pk=file.pk).update(key=file.key + ".new", first_step=1)
    return f"{JOBS}/{run.job.public_id}/rollouts"


def test_rollouts_in_groups_by_prompt_and_by_step(api, rolled_out):
    found = api.get(f"{rolled_out}/groups").json()
    assert [(g["row"], g["num_rollouts"], g["num_graded"], g["mean"]) for g in found["groups"]] == [
        (0, 4, 4, 0.75),
        (1, 4, 3, pytest.approx(1 / 3)),
    ]
    assert [(g["first_mean"], g["last_mean"], g["best"]) for g in found["groups"]] == [(0.5, 1.0, 1.0), (0.0, 0.5, 0.5)]
    # Of 0, 1, 1, 1 the mean is 3/4 and the standard deviation sqrt(3)/4.
    assert found["groups"][0]["std"] == pytest.approx(3**0.5 / 4)
    assert found["histogram"]["num_ungraded"] == 1
    assert (found["histogram"]["counts"][0], found["histogram"]["counts"][10], found["histogram"]["counts"][19]) == (
        2,
        2,
        3,
    )
    by_step = api.get(f"{rolled_out}/groups?by=step&row=1").json()["groups"]
    assert [(g["step"], g["mean"], g["num_rollouts"]) for g in by_step] == [(1, 0.0, 2), (2, 0.5, 2)]


@pytest.mark.parametrize(
    ("query", "positions"),
    [
        ("reward_min=0.5&reward_max=1", [6, 7]),
        ("reward_min=0.5", [1, 4, 5, 6, 7]),
        ("failed=true", [3]),
        ("text=answer+6", [6]),
        ("text=hmm", [3]),
        ("step=1&reward_max=0.5", [0, 2]),
        ("reward_max=0.5&after=rollout-2-0", [2]),
        ("text=.*", []),
    ],
)
def test_rollouts_are_filtered_by_the_server(api, rolled_out, query, positions):
    shown = api.get(f"{rolled_out}?{query}").json()["data"]
    assert [one["id"] for one in shown] == [f"rollout-2-{position}" for position in positions]


@pytest.mark.parametrize(
    ("query", "param"), [("reward_min=x", "reward_min"), ("reward_max=nan", "reward_max"), ("by=color", "by")]
)
def test_a_filter_that_is_none_is_refused(api, rolled_out, error_of, query, param):
    assert error_of(api.get(f"{rolled_out}/groups?{query}"), 400)["param"] == param


def test_an_unknown_status_is_refused(api, error_of):
    assert error_of(api.get(f"{JOBS}?status=running,asleep"), 400)["param"] == "status"
