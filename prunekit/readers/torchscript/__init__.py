"""TorchScript policies, run by prunekit's own interpreter; torch's loader never opens the file (law 7)."""
