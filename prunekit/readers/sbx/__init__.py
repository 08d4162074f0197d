"""Zips of SBX (Stable-Baselines3 in JAX), read without unpickling and without JAX."""
