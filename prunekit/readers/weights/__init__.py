"""What checkpoints share: weights by dotted names, chains of layers, and the graph that they make."""
