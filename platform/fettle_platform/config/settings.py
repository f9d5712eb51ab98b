"""Django's settings. Everything that an operator can change is in `env.py`; the rest is a constant here."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import lazy

from fettle_platform.config.database import django_database
from fettle_platform.config.env import EnvironmentInvalid, load_env

try:
    FETTLE = load_env()
except EnvironmentInvalid as error:
    raise ImproperlyConfigured(str(error)) from None

# Lazy, because the key may have to be made: reading the settings (for --help, in tests) must write no file.
SECRET_KEY = lazy(FETTLE.resolved_secret_key, str)()
# Never on: Django's own error pages would break the error envelope. FETTLE_DEBUG only logs more.
DEBUG = False
ALLOWED_HOSTS = FETTLE.allowed_hosts
ROOT_URLCONF = "fettle_platform.config.urls"
ASGI_APPLICATION = "fettle_platform.config.asgi.application"
# The official client sends no trailing slashes, and a redirect of a POST loses its body.
APPEND_SLASH = False

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "rest_framework",
    "drf_spectacular",
    "fettle_platform.core",
    "fettle_platform.accounts",
    "fettle_platform.datasets",
    "fettle_platform.graders",
    "fettle_platform.registry",
    "fettle_platform.webhooks",
    "fettle_platform.jobs",
    "fettle_platform.inference",
    "fettle_platform.web",
]
AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

MIDDLEWARE = [
    "fettle_platform.core.middleware.request_log",
    "django.middleware.security.SecurityMiddleware",
    "fettle_platform.core.middleware.request_shape",
    "django.middleware.common.CommonMiddleware",
]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"

DATABASES = {"default": django_database(FETTLE.resolved_database_url)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

FILE_UPLOAD_HANDLERS = ["fettle_platform.core.uploads.HashingUploadHandler"]
DATA_UPLOAD_MAX_MEMORY_SIZE = FETTLE.max_json_bytes
DATA_UPLOAD_MAX_NUMBER_FIELDS = 100
DATA_UPLOAD_MAX_NUMBER_FILES = 4

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["fettle_platform.accounts.auth.KeyOrSession"],
    "DEFAULT_PERMISSION_CLASSES": ["fettle_platform.accounts.auth.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["fettle_platform.core.parsing.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "fettle_platform.core.parsing.AnyAccept",
    "DEFAULT_SCHEMA_CLASS": "fettle_platform.core.schema.FettleSchema",
    "EXCEPTION_HANDLER": "fettle_platform.core.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Fettle",
    "DESCRIPTION": "Reinforcement fine-tuning on your own machines. The OpenAI fine-tuning wire format, and more.",
    "VERSION": "v1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SCHEMA_PATH_PREFIX": "/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "PREPROCESSING_HOOKS": ["fettle_platform.core.schema.public_endpoints"],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    # Enums stay in place: fields called `status` and `object` have other values in every object.
    "POSTPROCESSING_HOOKS": [],
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "fettle_platform.core.logs.JSONFormatter"}},
    "handlers": {
        "log": {"class": "logging.StreamHandler", "formatter": "json"}
        if FETTLE.log_file is None
        else {"class": "logging.FileHandler", "filename": FETTLE.log_file, "delay": True, "formatter": "json"}
    },
    "root": {"handlers": ["log"], "level": "INFO"},
    "loggers": {
        "fettle_platform": {"level": "DEBUG" if FETTLE.debug else "INFO"},
        "django": {"handlers": [], "propagate": True, "level": "INFO"},
        # Every failed request is already one line of the request log.
        "django.request": {"level": "CRITICAL"},
    },
}
