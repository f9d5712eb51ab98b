from django.urls import path

from fettle_platform.accounts import api

urlpatterns = [
    path("fettle/session", api.SessionView.as_view()),
    path("fettle/session/password", api.PasswordView.as_view()),
    path("fettle/projects", api.ProjectsView.as_view()),
    path("fettle/projects/<str:project_id>", api.ProjectView.as_view()),
    path("fettle/api_keys", api.ApiKeysView.as_view()),
    path("fettle/api_keys/<str:key_id>", api.ApiKeyView.as_view()),
    path("fettle/members", api.MembersView.as_view()),
    path("fettle/members/<str:user_id>", api.MemberView.as_view()),
]
