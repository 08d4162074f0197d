"""Sweeps: a grid of environments, algorithms, methods and seeds, every cell a run of its own that ends measured."""
