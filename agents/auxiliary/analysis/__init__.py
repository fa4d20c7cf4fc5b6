"""Explanation, causal discovery, off-policy evaluation and diagnostics."""
