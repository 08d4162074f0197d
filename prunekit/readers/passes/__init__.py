"""Rewriting passes over graphs that were read: patterns of several ops become the one op that they compute.

The passes do not depend on any file format.
"""
