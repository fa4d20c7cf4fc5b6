"""Extra differentiable objectives, trained inside the agent's update."""
