"""Organizations, projects, members, API keys, and the scope every query is limited to."""
