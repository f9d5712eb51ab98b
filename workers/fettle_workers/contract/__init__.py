"""What crosses the boundary between control plane, supervisor and trainer: pydantic models only."""
