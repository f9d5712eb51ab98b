"""Chat completions in front of an OpenAI-compatible upstream."""
