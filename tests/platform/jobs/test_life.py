"""A job from POST to served model, as its user and its worker see it."""

import csv
import io
from datetime import timedelta

import pytest

from fettle_platform.core.errors import InvalidRequest
from fettle_platform.core.storage import get_store


def test_a_new_job_is_validating_and_echoes_the_request(api, body, golden):
    response = api.post("/v1/fine_tuning/jobs", body(suffix="sums", metadata={"team": "a"}))
    assert response.status_code == 200
    job = response.json()
    assert job["status"] == "validating_files"
    assert job["error"] is None
    assert job["fine_tuned_model"] is None
    assert job["result_files"] == []
    golden("job_created", job)


def test_a_job_that_worked_has_a_model_a_result_file_and_a_verdict(api, succeeded, golden):
    done = succeeded(suffix="sums")
    job = api.get(f"/v1/fine_tuning/jobs/{done.job.public_id}").json()
    assert job["status"] == "succeeded"
    name = job["fine_tuned_model"]
    assert name.startswith("ft:fettle-tiny:acme:sums:")
    assert job["fettle"]["verdict"] == "improved"
    assert job["trained_tokens"] == 400
    # `auto` shows what it resolved to; what the plan does not name stays as asked for.
    hyperparameters = job["method"]["reinforcement"]["hyperparameters"]
    assert (hyperparameters["n_epochs"], hyperparameters["batch_size"]) == (2, 4)
    assert hyperparameters["lora_rank"] == "auto"
    golden("job_succeeded", job | {"fine_tuned_model": name[:-8] + "<random>"})


def test_the_result_file_has_a_row_a_step_and_empty_cells_without_evaluation(api, succeeded):
    job = succeeded().job
    content = b"".join(api.get(f"/v1/files/{job.result_file}/content").streaming_content).decode()
    table = list(csv.DictReader(io.StringIO(content)))
    assert [row["step"] for row in table] == ["0", "1", "2", "3", "4"]
    assert [row["full_valid_mean_reward"] for row in table] == ["0.25", "", "0.5", "", "0.75"]
    assert [row["train_mean_reward"] for row in table] == ["", "0.5", "0.5", "0.5", "0.5"]
    assert table[1]["total_duration"] == "3.5"
    assert table[1]["scores/graders/string_check/string_check/train_reward_mean"] == "0.5"
    # 2 of 32 completions could not be read.
    assert table[1]["errors/graders/string_check/string_check/errors/train_sample_parse_error_mean"] == "0.0625"


def test_events_are_listed_newest_first_in_both_metric_shapes(api, succeeded, golden):
    job = succeeded().job
    page = api.get(f"/v1/fine_tuning/jobs/{job.public_id}/events?limit=100").json()
    messages = [event["message"] for event in page["data"]]
    assert messages[0] == "The job has successfully completed"
    assert messages[-1].startswith("Created fine-tuning job")
    measured = [event for event in page["data"] if event["type"] == "metrics"]
    assert [event["data"]["step"] for event in measured] == [4, 3, 2, 1, 0]
    metrics = {event["data"]["step"]: event for event in measured}
    golden("event_metrics_with_evaluation", metrics[2])
    golden("event_metrics_without_evaluation", metrics[1])
    assert "valid_reward_mean" not in metrics[1]["data"]["scores"]
    assert "full_valid_mean_reward" not in metrics[1]["data"]
    assert metrics[2]["data"]["full_valid_mean_reward"] == metrics[2]["data"]["scores"]["valid_reward_mean"] == 0.5


def test_events_page_without_gap_or_repeat(api, succeeded):
    job = succeeded().job
    path = f"/v1/fine_tuning/jobs/{job.public_id}/events"
    whole = [event["id"] for event in api.get(f"{path}?limit=1000").json()["data"]]
    walked, after = [], ""
    for _ in range(100):
        page = api.get(f"{path}?limit=3{after}").json()
        walked += [event["id"] for event in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={page['data'][-1]['id']}"
    assert walked == whole


def test_the_three_best_checkpoints_are_kept_and_served(api, worker, golden):
    run = worker(suffix="sums")
    run.start(total_steps=5)
    for number, mean in enumerate([0.1, 0.5, 0.3, 0.4, 0.2]):
        run.commit(number, mean=mean)
    page = api.get(f"/v1/fine_tuning/jobs/{run.job.public_id}/checkpoints").json()
    assert [checkpoint["step_number"] for checkpoint in page["data"]] == [3, 2, 1]
    names = [checkpoint["fine_tuned_model_checkpoint"] for checkpoint in page["data"]]
    assert all(name.endswith(f":ckpt-step-{step}") for name, step in zip(names, [3, 2, 1], strict=True))
    assert all(api.get(f"/v1/models/{name}").status_code == 200 for name in names)
    assert api.get(f"/v1/models/{names[0].replace('step-3', 'step-0')}").status_code == 404
    first = page["data"][0]
    golden(
        "checkpoint",
        first | {"fine_tuned_model_checkpoint": names[0].replace(run.job.fine_tuned_name[-8:], "<random>")},
    )


def test_the_chosen_checkpoint_is_kept_even_if_it_is_not_among_the_best(api, worker):
    run = worker()
    run.start(total_steps=5)
    for number, mean in enumerate([0.1, 0.5, 0.3, 0.4]):
        run.commit(number, mean=mean)
    run.finish(chosen=0, verdict="no_measurable_gain")
    page = api.get(f"/v1/fine_tuning/jobs/{run.job.public_id}/checkpoints").json()
    assert [(c["step_number"], c["fettle"]["chosen"]) for c in page["data"]] == [
        (3, False),
        (2, False),
        (1, False),
        (0, True),
    ]
    events = api.get(f"/v1/fine_tuning/jobs/{run.job.public_id}/events").json()["data"]
    assert any(event["level"] == "warn" and "No measurable gain" in event["message"] for event in events)


def test_only_the_newest_two_training_states_stay_and_none_after_the_end(worker, django_capture_on_commit_callbacks):
    from fettle_platform.jobs.tick import tick

    run = worker()
    run.start()
    with django_capture_on_commit_callbacks(execute=True):
        for number in range(4):
            run.commit(number, mean=0.5, rollouts=2)
    states = [key for key in get_store().list(f"jobs/{run.job.public_id}/") if key.endswith("state.safetensors")]
    assert [key.split("/")[-2] for key in states] == ["step-000002", "step-000003"]
    run.finish(chosen=3)
    tick()
    left = {key.rsplit("/", 1)[-1] for key in get_store().list(f"jobs/{run.job.public_id}/")}
    assert left == {"rollouts.parquet"}


def test_selection_evaluations_and_rollouts_can_be_read(api, succeeded):
    job = succeeded().job
    base = f"/v1/fettle/fine_tuning/jobs/{job.public_id}"
    selection = api.get(f"{base}/selection").json()
    assert selection["candidates"][0]["reason"] == "the best"
    assert selection["table"]["candidates"][0]["item_means"] == [1.0, None, 0.5, 0.75]
    evaluations = api.get(f"{base}/evaluations").json()["data"]
    assert [(e["step"], e["mean"]) for e in evaluations] == [(0, 0.25), (2, 0.5), (4, 0.75)]
    assert evaluations[0]["items"][2] == {"row": 2, "mean": None}
    page = api.get(f"{base}/rollouts?limit=3").json()
    texts = [r["text"] for r in page["data"]]
    page = api.get(f"{base}/rollouts?limit=100&after={page['last_id']}").json()
    texts += [r["text"] for r in page["data"]]
    assert texts == [f"answer {number}.{i}" for number in (2, 4) for i in range(4)]
    assert page["has_more"] is False
    assert page["data"][0]["sub_rewards"] == {"a": 1.0}
    assert "ids" not in page["data"][0]
    only = api.get(f"{base}/rollouts?step=3&row=1&tokens=true").json()["data"]
    assert [(r["step"], r["row"], r["ids"]) for r in only] == [(3, 1, [1, 2])]


def test_the_answers_of_the_final_measurements_come_last(api, worker):
    run = worker()
    run.start()
    run.commit(4, mean=0.75, rollouts=2)
    run.store_final()
    run.finish()
    base = f"/v1/fettle/fine_tuning/jobs/{run.job.public_id}/rollouts"
    walked, after = [], ""
    for _ in range(10):
        page = api.get(f"{base}?limit=1{after}").json()
        walked += page["data"]
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"
    assert [r["id"] for r in walked] == ["rollout-4-0", "rollout-4-1", *(f"rollout-final-{i}" for i in range(4))]
    assert [r["id"] for r in api.get(f"{base}?purpose=report&step=0").json()["data"]] == [
        "rollout-final-0",
        "rollout-final-1",
    ]
    assert [r["text"] for r in api.get(f"{base}?purpose=train").json()["data"]] == ["answer 4.0", "answer 4.1"]


def test_final_rollouts_of_an_attempt_that_died_are_replaced(api, worker):
    """The first attempt says where they are and falls silent; the second ends the job again."""
    from fettle_platform.jobs.tick import tick

    first = worker()
    first.start()
    first.commit(4, mean=0.75, rollouts=2)
    first.store_final()
    tick(now=first.now + timedelta(hours=1))
    first.job.refresh_from_db()
    again = worker(first.job)
    assert again.attempt == first.attempt + 1
    again.start(resumed_from=4)
    again.store_final(rollouts=6)
    again.finish()
    page = api.get(f"/v1/fettle/fine_tuning/jobs/{again.job.public_id}/rollouts?purpose=report").json()
    assert [r["text"] for r in page["data"]] == [f"answer final {again.attempt}.{i}" for i in range(6)]


def test_a_worker_cannot_name_final_rollouts_of_another_job(worker):
    run = worker()
    run.start()
    with pytest.raises(InvalidRequest, match="expected it below"):
        run.store_final(store_prefix="jobs/ftjob-other/a1/final")


def test_there_is_no_selection_before_the_end(api, worker, error_of):
    job = worker().job
    response = api.get(f"/v1/fettle/fine_tuning/jobs/{job.public_id}/selection")
    assert "running" in error_of(response, 404)["message"]


def test_training_goes_on_from_a_model_and_from_a_checkpoint(succeeded, create):
    done = succeeded(suffix="sums").job
    again = create(model=done.fine_tuned_name)
    assert again.spec["init_adapter"] == {"digest": f"{4:064x}"}
    assert again.spec["base_model"] == "fettle-tiny"
    assert again.fine_tuned_name.startswith("ft:fettle-tiny:acme::")
    from_checkpoint = create(model=f"{done.fine_tuned_name}:ckpt-step-2")
    assert from_checkpoint.spec["init_adapter"] == {"digest": f"{2:064x}"}


def test_a_file_of_an_unfinished_job_cannot_be_deleted(api, create, error_of):
    job = create()
    error = error_of(api.delete(f"/v1/files/{job.training_file}"), 400)
    assert job.public_id in error["message"]
    api.post(f"/v1/fine_tuning/jobs/{job.public_id}/cancel")
    assert api.delete(f"/v1/files/{job.training_file}").status_code == 200
