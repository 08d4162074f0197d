"""TorchScript policies, read by an interpreter of prunekit's own; torch's never sees the file (law 7)."""

from prunekit.compress.torchscript.teacher import is_torchscript, read_torchscript

__all__ = ["is_torchscript", "read_torchscript"]
