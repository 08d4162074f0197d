"""Where policies play: one environment, or many at once."""
