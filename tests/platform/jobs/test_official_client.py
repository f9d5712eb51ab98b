"""The official client, unchanged, against the real server: every call on jobs and models."""

import openai
import pytest

from fettle_platform.jobs.models import Job


@pytest.fixture
def client(openai_client):
    return openai_client


@pytest.fixture
def files(client, said):
    made = [
        client.files.create(file=("rows.jsonl", said.rows(4, start=start)), purpose="fine-tune").id
        for start in (0, 100)
    ]
    return dict(zip(("training_file", "validation_file"), made, strict=True))


@pytest.fixture
def method(said):
    return {"type": "reinforcement", "reinforcement": {"grader": said.grader, "hyperparameters": {"n_epochs": 3}}}


def test_a_job_is_created_listed_paused_resumed_and_cancelled(client, files, method, said):
    from fettle_platform.jobs.tick import tick

    jobs = client.fine_tuning.jobs
    job = jobs.create(model="fettle-tiny", method=method, suffix="sums", metadata={"team": "a"}, seed=7, **files)
    assert job.id.startswith("ftjob-")
    assert (job.status, job.seed, job.metadata) == ("validating_files", 7, {"team": "a"})
    assert job.method.reinforcement.hyperparameters.n_epochs == 3
    assert job.method.reinforcement.grader.operation == "eq"
    tick()
    assert jobs.retrieve(job.id).status == "queued"
    assert jobs.pause(job.id).status == "paused"
    assert jobs.resume(job.id).status == "queued"
    assert jobs.cancel(job.id).status == "cancelled"
    assert [each.id for each in jobs.list(metadata={"team": "a"})] == [job.id]
    assert [each.id for each in jobs.list(metadata={"team": "b"})] == []
    assert [each.id for each in jobs.list(extra_query={"metadata": "null"})] == []
    messages = [event.message for event in jobs.list_events(job.id, limit=2)]
    assert messages[0] == "Fine-tuning job cancelled."
    assert messages[-1].startswith("Created fine-tuning job")
    with pytest.raises(openai.BadRequestError) as caught:
        jobs.cancel(job.id)
    assert caught.value.code == "invalid_state"
    assert caught.value.request_id


def test_a_finished_job_gives_checkpoints_a_model_and_a_csv(client, files, method, said, succeeded):
    from fettle_platform.jobs.tick import tick

    job = client.fine_tuning.jobs.create(model="fettle-tiny", method=method, **files)
    tick(now=said.now)
    succeeded(Job.objects.get(public_id=job.id))
    job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded"
    assert job.model_extra["fettle"]["verdict"] == "improved"
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=1))
    assert [checkpoint.step_number for checkpoint in checkpoints] == [4, 2, 0]
    assert checkpoints[0].metrics.model_extra["valid_reward_mean"] == 0.75
    assert client.files.content(job.result_files[0]).text.startswith("step,train_mean_reward")
    assert client.files.retrieve(job.result_files[0]).purpose == "fine-tune-results"

    name = job.fine_tuned_model
    assert [model.id for model in client.models.list()] == ["fettle-tiny", name]
    assert client.models.retrieve(name).owned_by == "acme"
    assert client.models.retrieve(checkpoints[0].fine_tuned_model_checkpoint).id.endswith(":ckpt-step-4")
    assert client.models.delete(name).deleted is True
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(name)


def test_errors_arrive_as_the_clients_own(client, files, method):
    with pytest.raises(openai.BadRequestError) as caught:
        client.fine_tuning.jobs.create(model="fettle-tiny", training_file=files["training_file"], method=method)
    assert (caught.value.param, caught.value.code) == ("validation_file", "missing_required_parameter")
    with pytest.raises(openai.NotFoundError) as missing:
        client.fine_tuning.jobs.retrieve("ftjob-nope")
    assert missing.value.code == "fine_tune_not_found"
    with pytest.raises(openai.NotFoundError):
        client.fine_tuning.jobs.create(model="gpt-nope", method=method, **files)
    with pytest.raises(openai.BadRequestError):
        list(client.fine_tuning.jobs.list(after="ftjob-nope"))


def test_supervised_jobs_in_the_older_form(client, files):
    job = client.fine_tuning.jobs.create(
        model="fettle-tiny", training_file=files["training_file"], hyperparameters={"n_epochs": 2}
    )
    assert job.hyperparameters.n_epochs == 2
    assert job.method.type == "supervised"
