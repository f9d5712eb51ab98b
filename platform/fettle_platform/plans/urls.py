from django.urls import path

from fettle_platform.plans.api import PlanView

urlpatterns = [path("fettle/plan", PlanView.as_view())]
