"""The typed graph of ops that describes a policy, and the functions that work on it."""
