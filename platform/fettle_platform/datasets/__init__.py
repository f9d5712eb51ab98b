"""Files and uploads, and whether their rows can train a model."""
