"""The data plane: what trains, samples and serves."""
