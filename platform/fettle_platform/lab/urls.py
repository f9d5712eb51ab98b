from django.urls import path

from fettle_platform.lab import api

urlpatterns = [
    path("fettle/graders/test", api.GraderTestView.as_view()),
    path("fettle/graders/red_team", api.RedTeamView.as_view()),
    path("fettle/graders/regrade", api.RegradeView.as_view()),
    path("fettle/graders/calibrate", api.CalibrateView.as_view()),
]
