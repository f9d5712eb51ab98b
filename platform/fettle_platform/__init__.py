"""The control plane: the public API, job state and the registry of models."""
