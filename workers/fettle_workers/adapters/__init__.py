"""Implementations of the engine's ports, one file each."""
