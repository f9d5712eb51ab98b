"""The training library: torch only. It receives its collaborators as arguments."""
