"""Translation of foreign computations into nodes of a graph, independent of any file format."""
