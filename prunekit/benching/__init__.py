"""Measurements of exported policies: latency, memory and returns, with their statistics."""
