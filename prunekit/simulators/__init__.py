"""Where policies play: in one environment, or in many at once."""
