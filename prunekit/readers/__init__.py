"""Readers of policy files of other programs, one folder or file per kind."""
