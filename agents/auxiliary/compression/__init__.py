"""Pruning, quantisation and conversion of policies."""
