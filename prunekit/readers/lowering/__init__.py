"""From what foreign files compute to nodes of a graph; knows no file format."""
