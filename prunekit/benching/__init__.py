"""What an exported policy costs and what it still earns: latency, memory, returns, and their statistics."""
