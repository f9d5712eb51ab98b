"""Judge models for graders: what this server serves, and what the operator allows."""
