"""Settings, routes and the environment."""
