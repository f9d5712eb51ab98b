from django.urls import path

from fettle_platform.inference.api import chat_completions
from fettle_platform.inference.schema import documented

urlpatterns = [path("chat/completions", documented(chat_completions))]
