"""The documented shapes of requests and answers. They describe; reading is `requests.py`, writing is `wire.py`."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from fettle_platform.core.schema import schema_of
from fettle_platform.jobs.states import Status
from fettle_workers.contract.events import ScoreTable


class ErrorShape(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()
    param = serializers.CharField(allow_null=True)


class FettleOptionsShape(serializers.Serializer):
    validation_split = serializers.FloatField(
        required=False, help_text="share of the training rows held out, greater than 0 and less than 1"
    )
    preflight_id = serializers.CharField(
        required=False, help_text="whose answers to the held-out rows stand in for the evaluation at step 0"
    )


class JobCreateShape(serializers.Serializer):
    model = serializers.CharField(help_text="id of a base model, of a fine-tuned model or of a checkpoint")
    training_file = serializers.CharField(help_text="id of a file with purpose fine-tune")
    validation_file = serializers.CharField(required=False, allow_null=True)
    method = serializers.DictField(required=False, help_text="`type` and an object of the same name")
    hyperparameters = serializers.DictField(required=False, help_text="older form, for supervised tuning only")
    suffix = serializers.CharField(required=False, allow_null=True, min_length=1, max_length=64)
    seed = serializers.IntegerField(required=False, allow_null=True, min_value=0, max_value=2**31 - 1)
    metadata = serializers.DictField(required=False, allow_null=True, child=serializers.CharField())
    integrations = serializers.ListField(required=False, allow_null=True, child=serializers.DictField())
    fettle = FettleOptionsShape(required=False)


class FileDigestsShape(serializers.Serializer):
    """SHA-256 of the files as they were when the job was made: equal ones hold the same rows, whatever their ids."""

    training = serializers.CharField()
    validation = serializers.CharField(allow_null=True)


class JobFettleShape(serializers.Serializer):
    phase = serializers.CharField(help_text="what the job is doing now, in words")
    attempt = serializers.IntegerField()
    step = serializers.IntegerField()
    total_steps = serializers.IntegerField(allow_null=True)
    base_model = serializers.CharField()
    validation_split = serializers.FloatField(allow_null=True)
    preflight_id = serializers.CharField(allow_null=True)
    grader_version = serializers.CharField(allow_null=True, help_text="the stored grader that the request named")
    file_digests = FileDigestsShape()
    requested = serializers.DictField(help_text="the hyperparameters as they were asked for, with every `auto`")
    plan = serializers.DictField(allow_null=True, help_text="what every `auto` resolved to")
    judge_usage = serializers.DictField(help_text="tokens that judges used up to now, by model")
    verdict = serializers.ChoiceField(["improved", "no_measurable_gain"], allow_null=True)
    selection = serializers.DictField(allow_null=True, help_text="the delivered checkpoint and its measured gain")


class JobShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["fine_tuning.job"])
    created_at = serializers.IntegerField()
    finished_at = serializers.IntegerField(allow_null=True)
    model = serializers.CharField()
    fine_tuned_model = serializers.CharField(allow_null=True)
    organization_id = serializers.CharField()
    status = serializers.ChoiceField([status.value for status in Status])
    training_file = serializers.CharField()
    validation_file = serializers.CharField(allow_null=True)
    result_files = serializers.ListField(child=serializers.CharField())
    trained_tokens = serializers.IntegerField(allow_null=True)
    estimated_finish = serializers.IntegerField(allow_null=True)
    error = ErrorShape(allow_null=True)
    hyperparameters = serializers.DictField()
    method = serializers.DictField()
    integrations = serializers.ListField(child=serializers.DictField(), allow_null=True)
    seed = serializers.IntegerField()
    metadata = serializers.DictField(child=serializers.CharField(), allow_null=True)
    user_provided_suffix = serializers.CharField(allow_null=True)
    fettle = JobFettleShape()


class EventFettleShape(serializers.Serializer):
    seq = serializers.IntegerField(help_text="counts from 1 in each job, without gaps")


class EventShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["fine_tuning.job.event"])
    created_at = serializers.IntegerField()
    level = serializers.ChoiceField(["info", "warn", "error"])
    message = serializers.CharField()
    type = serializers.ChoiceField(["message", "metrics"])
    data = serializers.DictField(allow_null=True)
    fettle = EventFettleShape()


class CheckpointFettleShape(serializers.Serializer):
    chosen = serializers.BooleanField()
    adapter_digest = serializers.CharField()


class CheckpointShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["fine_tuning.job.checkpoint"])
    created_at = serializers.IntegerField()
    fine_tuned_model_checkpoint = serializers.CharField()
    fine_tuning_job_id = serializers.CharField()
    step_number = serializers.IntegerField()
    metrics = serializers.DictField()
    fettle = CheckpointFettleShape()


@extend_schema_field(schema_of(ScoreTable))
class ScoreTableField(serializers.JSONField):
    """The contract's own model describes it."""


class SelectionShape(serializers.Serializer):
    object = serializers.ChoiceField(["fettle.selection"])
    fine_tuning_job_id = serializers.CharField()
    verdict = serializers.ChoiceField(["improved", "no_measurable_gain"])
    chosen_step = serializers.IntegerField()
    chosen_adapter_digest = serializers.CharField()
    rule = serializers.CharField(help_text="one sentence")
    base_mean = serializers.FloatField()
    chosen_mean = serializers.FloatField()
    gain = serializers.FloatField()
    gain_low = serializers.FloatField()
    gain_high = serializers.FloatField()
    confidence = serializers.FloatField()
    num_items = serializers.IntegerField()
    samples_per_item = serializers.IntegerField()
    in_sample = serializers.BooleanField()
    measured_on = serializers.CharField()
    kl_nats = serializers.FloatField()
    candidates = serializers.ListField(child=serializers.DictField())
    examples = serializers.ListField(child=serializers.DictField())
    table = ScoreTableField(allow_null=True, help_text="every score the verdict was computed from")


class ItemShape(serializers.Serializer):
    row = serializers.IntegerField()
    mean = serializers.FloatField(allow_null=True, help_text="null where every grade failed")


class EvaluationShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["fettle.evaluation"])
    step = serializers.IntegerField()
    mean = serializers.FloatField()
    standard_error = serializers.FloatField()
    kl_nats = serializers.FloatField()
    num_items = serializers.IntegerField()
    samples_per_item = serializers.IntegerField()
    in_sample = serializers.BooleanField()
    items = ItemShape(many=True)


class RolloutShape(serializers.Serializer):
    id = serializers.CharField()
    object = serializers.ChoiceField(["fettle.rollout"])
    purpose = serializers.CharField()
    step = serializers.IntegerField()
    policy_version = serializers.IntegerField(help_text="the step whose adapter answered")
    epoch = serializers.FloatField(allow_null=True)
    source = serializers.CharField(help_text="`training_file` or `validation_file`")
    row = serializers.IntegerField()
    sample_index = serializers.IntegerField()
    text = serializers.CharField()
    reasoning = serializers.CharField(allow_null=True)
    tool_calls = serializers.ListField(child=serializers.DictField(), allow_null=True)
    reward = serializers.FloatField(allow_null=True, help_text="null: grading failed")
    sub_rewards = serializers.DictField(child=serializers.FloatField(allow_null=True), allow_null=True)
    advantage = serializers.FloatField(allow_null=True, help_text="null: had no part in the loss")
    num_tokens = serializers.IntegerField()
    num_reasoning_tokens = serializers.IntegerField(allow_null=True)
    finish_reason = serializers.CharField()
    error = serializers.CharField(allow_null=True)
    error_flags = serializers.ListField(child=serializers.CharField(), allow_null=True)
    # With `tokens=true`:
    prompt_ids = serializers.ListField(child=serializers.IntegerField(), required=False)
    ids = serializers.ListField(child=serializers.IntegerField(), required=False)
    logprobs = serializers.ListField(
        child=serializers.FloatField(), required=False, help_text="of the distribution each id was drawn from"
    )
    token_chars = serializers.ListField(
        child=serializers.IntegerField(),
        required=False,
        allow_null=True,
        help_text="how many characters (code points) each id wrote of `reasoning` and, after that, of `text`; null: "
        "they do not simply follow one another",
    )


class RolloutGroupShape(serializers.Serializer):
    """Rollouts of one prompt, or of one step."""

    purpose = serializers.CharField()
    source = serializers.CharField(required=False, allow_null=True)
    row = serializers.IntegerField(required=False)
    step = serializers.IntegerField(required=False)
    num_rollouts = serializers.IntegerField()
    num_graded = serializers.IntegerField()
    mean = serializers.FloatField(allow_null=True)
    std = serializers.FloatField(allow_null=True)
    best = serializers.FloatField(allow_null=True)
    num_steps = serializers.IntegerField()
    first_step = serializers.IntegerField()
    last_step = serializers.IntegerField()
    first_mean = serializers.FloatField(allow_null=True)
    last_mean = serializers.FloatField(allow_null=True)


class RewardHistogramShape(serializers.Serializer):
    edges = serializers.ListField(child=serializers.FloatField())
    counts = serializers.ListField(child=serializers.IntegerField())
    num_ungraded = serializers.IntegerField()


class RolloutGroupsShape(serializers.Serializer):
    object = serializers.ChoiceField(["fettle.rollout_groups"])
    by = serializers.ChoiceField(["row", "step"])
    num_rollouts = serializers.IntegerField()
    groups = RolloutGroupShape(many=True)
    histogram = RewardHistogramShape(allow_null=True)


class PointField(serializers.ListField):
    """`[step, value]`"""

    child = serializers.FloatField()


class SeriesShape(serializers.Serializer):
    name = serializers.CharField()
    points = serializers.ListField(child=PointField(min_length=2, max_length=2))


class MeasuredShape(serializers.Serializer):
    """An evaluation without its rows."""

    step = serializers.IntegerField()
    mean = serializers.FloatField()
    standard_error = serializers.FloatField(allow_null=True)
    kl_nats = serializers.FloatField(allow_null=True)
    num_items = serializers.IntegerField()
    samples_per_item = serializers.IntegerField()
    in_sample = serializers.BooleanField()
    completion_tokens_mean = serializers.FloatField(allow_null=True)
    reasoning_tokens_mean = serializers.FloatField(allow_null=True)
    truncated_share = serializers.FloatField(allow_null=True)
    graders = serializers.DictField(child=serializers.FloatField(allow_null=True))


class MetricsShape(serializers.Serializer):
    object = serializers.ChoiceField(["fettle.metrics"])
    fine_tuning_job_id = serializers.CharField()
    attempt = serializers.IntegerField(help_text="when it changed, steps may have been done again: read from the start")
    last_step = serializers.IntegerField(allow_null=True)
    series = SeriesShape(many=True)
    evaluations = MeasuredShape(many=True)


class BestShape(serializers.Serializer):
    step = serializers.IntegerField()
    mean = serializers.FloatField()
    standard_error = serializers.FloatField(allow_null=True)


class ProgressShape(serializers.Serializer):
    held_out = serializers.ListField(child=PointField(min_length=2, max_length=2), help_text="score by step")
    best = BestShape(allow_null=True, help_text="the highest so far; the choice at the end also weighs the KL")


class JobWithProgressShape(JobShape):
    progress = ProgressShape()


class UsedShape(serializers.Serializer):
    working_s = serializers.FloatField(help_text="time in training steps, each counted once")
    trained_tokens = serializers.IntegerField()
    judge_tokens = serializers.IntegerField(help_text="prompts and answers of the models that graded")
    num_rollouts = serializers.IntegerField()
    rollouts_bytes = serializers.IntegerField()
    checkpoints_bytes = serializers.IntegerField()


class JobUsageShape(UsedShape):
    id = serializers.CharField()
    name = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField([status.value for status in Status])
    created_at = serializers.IntegerField()


class FilesUsageShape(serializers.Serializer):
    count = serializers.IntegerField()
    size_bytes = serializers.IntegerField()


class UsageShape(serializers.Serializer):
    object = serializers.ChoiceField(["fettle.usage"])
    jobs = JobUsageShape(many=True, help_text="the newest first, at most 200")
    num_jobs = serializers.IntegerField()
    total = UsedShape(help_text="of all jobs")
    files = FilesUsageShape()
