"""Foreign file formats, decoded to plain data: nothing in them is run, and no size in them is believed."""
