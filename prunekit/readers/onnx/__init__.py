"""ONNX operators as ops of a graph, a small function each."""
