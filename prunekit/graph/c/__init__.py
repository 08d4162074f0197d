"""C in float32 written from a graph: literals, functions, layers, names, and the writer that ops' forms write into."""
