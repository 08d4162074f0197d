"""Files that other programs wrote, decoded to plain data: nothing in them is run, and no size in them is believed."""
