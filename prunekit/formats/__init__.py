"""Foreign file formats, decoded to plain data without running anything."""
