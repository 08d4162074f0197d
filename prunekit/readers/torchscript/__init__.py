"""TorchScript policies, run by an interpreter of prunekit's own; torch's never sees the file (law 7)."""
