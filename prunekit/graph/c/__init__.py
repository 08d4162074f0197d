"""Float32 C from a graph: literals, functions, layers, names, and the writer that the C forms of ops use."""
