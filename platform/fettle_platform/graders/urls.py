from django.urls import path

from fettle_platform.graders import stored_api
from fettle_platform.graders.api import GraderRunView, GraderValidateView, SandboxView

urlpatterns = [
    path("fine_tuning/alpha/graders/validate", GraderValidateView.as_view()),
    path("fine_tuning/alpha/graders/run", GraderRunView.as_view()),
    path("fettle/graders", stored_api.GradersView.as_view()),
    path("fettle/graders/versions/<str:version_id>", stored_api.AnyVersionView.as_view()),
    path("fettle/graders/<str:grader_id>", stored_api.GraderView.as_view()),
    path("fettle/graders/<str:grader_id>/versions", stored_api.VersionsView.as_view()),
    path("fettle/graders/<str:grader_id>/versions/<str:version>", stored_api.VersionView.as_view()),
    path("fettle/graders/<str:grader_id>/diff", stored_api.DiffView.as_view()),
    path("fettle/sandbox", SandboxView.as_view()),
]
