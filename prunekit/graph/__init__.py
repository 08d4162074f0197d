"""The typed graph of ops: what a policy computes, and what follows from it."""
