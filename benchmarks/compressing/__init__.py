"""Parts of ``benchmarks/compress.py``: teachers, one measured compression, what the runs came to."""
