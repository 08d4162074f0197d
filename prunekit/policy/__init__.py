"""The deployed function: the actor, its program, and its file."""
