"""Graders: the rules that turn one completion into a score."""
