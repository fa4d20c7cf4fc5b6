"""What plugs into an agent: one file per method, one folder per door. `auxiliary.py` holds the contract."""
