from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "fettle_platform.accounts"
    label = "accounts"
