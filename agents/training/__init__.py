"""The loops that drive any agent, and everything a run needs around them: metrics, checkpoints, evaluation, export."""
