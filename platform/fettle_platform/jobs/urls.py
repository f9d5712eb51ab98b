from django.urls import path

from fettle_platform.jobs import api, fettle_api, preflight_api, stream_api

urlpatterns = [
    path("fine_tuning/jobs", api.JobsView.as_view()),
    path("fine_tuning/jobs/<str:job_id>", api.JobView.as_view()),
    path("fine_tuning/jobs/<str:job_id>/cancel", api.CancelView.as_view()),
    path("fine_tuning/jobs/<str:job_id>/pause", api.PauseView.as_view()),
    path("fine_tuning/jobs/<str:job_id>/resume", api.ResumeView.as_view()),
    path("fine_tuning/jobs/<str:job_id>/events", api.EventsView.as_view()),
    path("fine_tuning/jobs/<str:job_id>/checkpoints", api.CheckpointsView.as_view()),
    path("fettle/fine_tuning/jobs/<str:job_id>/finish", api.FinishView.as_view()),
    path("fettle/fine_tuning/jobs", fettle_api.JobsWithProgressView.as_view()),
    path("fettle/fine_tuning/jobs/<str:job_id>/metrics", fettle_api.MetricsView.as_view()),
    path("fettle/fine_tuning/jobs/<str:job_id>/rollouts/groups", fettle_api.RolloutGroupsView.as_view()),
    path("fettle/fine_tuning/jobs/<str:job_id>/selection", fettle_api.SelectionView.as_view()),
    path("fettle/fine_tuning/jobs/<str:job_id>/evaluations", fettle_api.EvaluationsView.as_view()),
    path("fettle/fine_tuning/jobs/<str:job_id>/rollouts", fettle_api.RolloutsView.as_view()),
    path("fettle/usage", fettle_api.UsageView.as_view()),
    path("fettle/stream", stream_api.stream),
    path("fettle/preflight", preflight_api.PreflightsView.as_view()),
    path("fettle/preflight/<str:preflight_id>", preflight_api.PreflightView.as_view()),
    path("fettle/preflight/<str:preflight_id>/cancel", preflight_api.PreflightCancelView.as_view()),
    path("fettle/preflight/<str:preflight_id>/events", preflight_api.PreflightEventsView.as_view()),
    path("fettle/preflight/<str:preflight_id>/rollouts", preflight_api.PreflightRolloutsView.as_view()),
]
