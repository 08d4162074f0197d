"""Rewriting of graphs as they are read: what is computed in pieces becomes the op that it is. Knows no file format."""
