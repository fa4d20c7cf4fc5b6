"""Bonuses computed before the agent's loss."""
