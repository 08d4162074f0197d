"""Exporters; each checks its result against the policy before it writes a file."""
