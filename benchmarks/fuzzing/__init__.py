"""Parts of ``benchmarks/fuzz.py``: sound files, mutations of them, what is done with them, and how it is watched."""
