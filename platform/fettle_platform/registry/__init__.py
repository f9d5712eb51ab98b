"""Models that can be served: which adapter each public name stands for."""
