"""Statistics of returns: bootstrap intervals, bets, bounds of rare events, certificates of retention."""
