"""The application that an ASGI server runs: `uvicorn fettle_platform.config.asgi:application`."""

from __future__ import annotations

import os
import sys
import tempfile

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fettle_platform.config.settings")

from fettle_platform.config.env import EnvironmentInvalid, load_env

try:
    env = load_env()
    env.prepare_folders()
except EnvironmentInvalid as error:
    sys.exit(str(error))
# Django spools every request body into the default temporary folder, which on many systems is memory.
tempfile.tempdir = str(env.temporary_dir)

from django.core.asgi import get_asgi_application  # noqa: E402 -- after the environment is known to be valid

from fettle_platform.core.body_limit import BodyLimit  # noqa: E402

application = BodyLimit(get_asgi_application(), env)
