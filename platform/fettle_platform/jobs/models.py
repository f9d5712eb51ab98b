"""Rows of fine-tuning jobs. Status changes only in services, along `states.TRANSITIONS`."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from fettle_platform.accounts.scoping import ProjectScoped
from fettle_platform.core.ids import public_id_field
from fettle_platform.jobs.states import LEASED, Desired, Purpose, Status

# Plain text, so that migrations keep what they said when they were written.
_STATUSES = [(status.value, status.value) for status in Status]
_PURPOSES = [(purpose.value, purpose.value) for purpose in Purpose]
_WISHES = [(wish.value, wish.value) for wish in Desired]
_LEASED = sorted(status.value for status in LEASED)


class Job(ProjectScoped):
    """One run on a worker. `attempt` is the fence: whoever writes for an older attempt is refused."""

    public_id = public_id_field("ftjob-")
    purpose = models.CharField(max_length=10, choices=_PURPOSES, default=Purpose.TRAIN.value)
    created_at = models.DateTimeField()
    status = models.CharField(max_length=20, choices=_STATUSES, default=Status.VALIDATING_FILES.value)
    desired = models.CharField(max_length=8, choices=_WISHES, default=Desired.RUN.value)

    # Lease.
    attempt = models.PositiveIntegerField(default=1)
    worker = models.CharField(max_length=200, default="", blank=True)
    token_hash = models.CharField(max_length=64, default="", blank=True)
    lease_until = models.DateTimeField(null=True)
    dispatch_after = models.DateTimeField(null=True)
    lost_attempts = models.PositiveIntegerField(default=0)
    lost_at_step = models.PositiveIntegerField(default=0)
    worker_sequence = models.PositiveIntegerField(default=0)  # last event taken from this attempt

    # Progress.
    event_seq = models.PositiveBigIntegerField(default=0)
    step = models.PositiveIntegerField(default=0)
    step_reached = models.PositiveIntegerField(default=0)  # the most in any attempt
    total_steps = models.PositiveIntegerField(null=True)
    trained_tokens = models.PositiveBigIntegerField(null=True)
    judge_usage = models.JSONField(default=dict)  # model -> tokens, of every attempt
    started_at = models.DateTimeField(null=True)  # first claim
    training_since = models.DateTimeField(null=True)  # `started` event of this attempt
    estimated_finish = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    # What was asked for. `spec` is the frozen TrainSpec.
    model = models.CharField(max_length=400)
    fine_tuned_name = models.CharField(max_length=400, unique=True)  # public once the job succeeded
    init_adapter = models.CharField(max_length=64, default="", blank=True)
    method = models.CharField(max_length=20)
    spec = models.JSONField()
    training_file = models.CharField(max_length=64)
    validation_file = models.CharField(max_length=64, null=True)
    seed = models.PositiveIntegerField()
    suffix = models.CharField(max_length=64, null=True)
    metadata = models.JSONField(null=True)
    integrations = models.JSONField(null=True)
    preflight = models.CharField(max_length=64, null=True)  # whose answers stand in for the evaluation at step 0
    grader_version = models.CharField(max_length=64, null=True)  # the stored one that was named; `spec` has its content

    # What came out.
    plan = models.JSONField(null=True)
    selection = models.JSONField(null=True)
    report = models.JSONField(null=True)  # of a preflight, with `step0`: what a job needs to take its answers over
    step0 = models.JSONField(null=True)
    error_code = models.CharField(max_length=64, default="", blank=True)
    error_message = models.TextField(default="", blank=True)
    error_param = models.CharField(max_length=200, null=True)
    result_file = models.CharField(max_length=64, null=True)
    swept = models.BooleanField(default=False)  # training state in the store is deleted after the end

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["project", "-created_at", "-id"], name="job_page"),
            models.Index(fields=["status", "dispatch_after"], name="job_dispatch"),
            models.Index(fields=["lease_until"], name="job_lease", condition=Q(lease_until__isnull=False)),
            models.Index(fields=["swept", "status"], name="job_sweep"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(status__in=[status for status, _ in _STATUSES]), name="job_status_known"
            ),
            models.CheckConstraint(
                condition=Q(purpose__in=[purpose for purpose, _ in _PURPOSES]), name="job_purpose_known"
            ),
            models.CheckConstraint(
                condition=Q(status__in=_LEASED, lease_until__isnull=False)
                | (~Q(status__in=_LEASED) & Q(lease_until__isnull=True)),
                name="job_leased_exactly_while_running",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.public_id} ({self.status}, attempt {self.attempt})"

    @property
    def noun(self) -> str:
        """What its events call it."""
        return "preflight" if self.purpose == Purpose.PREFLIGHT else "fine-tuning job"


class JobMetadata(models.Model):
    """The pairs of `Job.metadata`, for the list filter: portable and indexed, unlike look-ups into JSON."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="metadata_pairs")
    key = models.CharField(max_length=64)
    value = models.CharField(max_length=512)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["job", "key"], name="job_metadata_key")]
        indexes: ClassVar = [models.Index(fields=["key", "value"], name="job_metadata_pair")]


class JobEvent(models.Model):
    """`seq` counts per job and is given out inside the writing transaction, so no reader can skip a late commit."""

    public_id = public_id_field("ftevent-")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    seq = models.PositiveBigIntegerField()
    created_at = models.DateTimeField()
    level = models.CharField(max_length=8)
    type = models.CharField(max_length=16, default="message")
    message = models.TextField()
    data = models.JSONField(null=True)
    attempt = models.PositiveIntegerField(null=True)  # with `sequence`: of the worker's event it was made from
    sequence = models.PositiveIntegerField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "seq"], name="job_event_seq"),
            models.UniqueConstraint(fields=["job", "attempt", "sequence"], name="job_event_of_worker_once"),
        ]


class JobStep(models.Model):
    """What was measured at one step: of the step itself and, where one was made, of its evaluation."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="steps")
    step = models.PositiveIntegerField()
    metrics = models.JSONField(null=True)
    evaluation = models.JSONField(null=True)
    elapsed_s = models.FloatField(default=0.0)  # of all steps up to this one, each counted once

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["job", "step"], name="job_step_once")]


class Checkpoint(models.Model):
    """A committed step. A candidate was evaluated; a kept one is listed and can be served."""

    public_id = public_id_field("ftckpt_")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="checkpoints")
    step = models.PositiveIntegerField()
    created_at = models.DateTimeField()
    adapter_digest = models.CharField(max_length=64)
    store_prefix = models.CharField(max_length=200)
    has_state = models.BooleanField(default=True)  # False: optimizer state deleted, training cannot go on from here
    manifest = models.JSONField()
    candidate = models.BooleanField()
    mean = models.FloatField(null=True)
    metrics = models.JSONField(default=dict)
    kept = models.BooleanField(default=False)
    chosen = models.BooleanField(default=False)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["job", "step"], name="checkpoint_step_once")]
        indexes: ClassVar = [models.Index(fields=["adapter_digest"], name="checkpoint_adapter")]


class RolloutFile(models.Model):
    """Where the rollouts of steps `first_step` to `last_step` lie: one Parquet file in the store.

    One file a commit, and at most one of the final measurements, in which policies of any step were asked.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="rollout_files")
    first_step = models.PositiveIntegerField()
    last_step = models.PositiveIntegerField()
    final = models.BooleanField(default=False)
    key = models.CharField(max_length=240)
    num_rollouts = models.PositiveIntegerField()
    size_bytes = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "last_step"], condition=Q(final=False), name="rollout_file_once"),
            models.UniqueConstraint(fields=["job"], condition=Q(final=True), name="rollout_file_final_once"),
        ]
