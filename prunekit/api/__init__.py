"""The names of ``import prunekit``: policies, and functions that work on them."""
