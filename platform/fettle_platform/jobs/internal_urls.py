from django.urls import path

from fettle_platform.jobs import internal_api

urlpatterns = [
    path("jobs/<str:job_id>/claim", internal_api.ClaimView.as_view()),
    path("jobs/<str:job_id>/heartbeat", internal_api.HeartbeatView.as_view()),
    path("jobs/<str:job_id>/events", internal_api.EventsView.as_view()),
    path("jobs/<str:job_id>/judge", internal_api.JudgeView.as_view()),
    path("jobs/<str:job_id>/release", internal_api.ReleaseView.as_view()),
]
