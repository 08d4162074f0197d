"""Translation of ONNX operators into ops of a graph, with one small function per operator."""
