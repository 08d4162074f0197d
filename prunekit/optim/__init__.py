"""Second-order steps for small networks: curvature matrices of a policy's outputs, and solvers with them."""
