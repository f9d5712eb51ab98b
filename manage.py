#!/usr/bin/env python
"""Django's entry point, nothing else."""

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "fettle_platform.config.settings")

if __name__ == "__main__":
    from fettle_platform.config.env import EnvironmentInvalid, load_env

    try:
        load_env().prepare_folders()
    except EnvironmentInvalid as error:
        sys.exit(str(error))
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
