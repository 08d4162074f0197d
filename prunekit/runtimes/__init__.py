"""Runtimes of prunekit's own: policies as compiled C."""
