"""Shared parts of checkpoint readers: weights by dotted names, chains of layers, and the graph made of them."""
