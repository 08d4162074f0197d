"""Second-order steps for small networks: curvature of a policy's answers, and what divides gradients by it."""
