"""Readers of policy files: each reads one kind of file into a graph, without running code from the file (law 7)."""
