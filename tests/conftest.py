"""For all tests: XLA spends less on optimising programs that run for a moment and are then thrown away."""

import os

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()
