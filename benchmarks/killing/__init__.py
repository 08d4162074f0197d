"""Parts of ``benchmarks/kills.py``: processes to kill, what they do, and what has to be left of them."""
