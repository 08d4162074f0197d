"""Foreign file formats, decoded to plain data: no code in them is run, and no size in them is trusted."""
