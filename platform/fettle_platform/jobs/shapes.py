"""The documented shapes of requests and answers. They describe; reading is `requests.py`, writing is `wire.py`."""

from __future__ import annotations

from rest_framework import serializers

from fettle_platform.jobs.states import Status


class ErrorShape(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()
    param = serializers.CharField(allow_null=True)


class FettleOptionsShape(serializers.Serializer):
    validation_split = serializers.FloatField(
        required=False, help_text="share of the training rows held out, greater than 0 and less than 1"
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


class JobFettleShape(serializers.Serializer):
    phase = serializers.CharField(help_text="what the job is doing now, in words")
    attempt = serializers.IntegerField()
    step = serializers.IntegerField()
    total_steps = serializers.IntegerField(allow_null=True)
    base_model = serializers.CharField()
    validation_split = serializers.FloatField(allow_null=True)
    plan = serializers.DictField(allow_null=True, help_text="what every `auto` resolved to")
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
    step = serializers.IntegerField()
    row = serializers.IntegerField()
