from django.urls import path

from fettle_platform.graders.api import GraderRunView, GraderValidateView

urlpatterns = [
    path("fine_tuning/alpha/graders/validate", GraderValidateView.as_view()),
    path("fine_tuning/alpha/graders/run", GraderRunView.as_view()),
]
