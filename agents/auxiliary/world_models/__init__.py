"""Dynamics, generative and sequence models of experience."""
