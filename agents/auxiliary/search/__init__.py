"""Search over schedules, architectures, losses, plans and populations."""
