"""The deployed function: actor, the program it lowers to, and the file it is kept in."""
