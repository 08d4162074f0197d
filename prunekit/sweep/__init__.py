"""Sweeps: grids of environments, algorithms, methods and seeds, in which every cell is one measured run."""
