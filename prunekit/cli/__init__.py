"""The command line, one file per command: parse, call, print; nothing else."""

from prunekit.cli.app import main

__all__ = ["main"]
