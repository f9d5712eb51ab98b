"""`python -m fettle`: the `fettle` command."""

from fettle.cli import main

main()
