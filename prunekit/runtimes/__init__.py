"""Runtimes of prunekit's own: policies as compiled C.

``load_native("model.pt")`` is a policy as machine code of this computer.
"""

from prunekit.runtimes.native import NativePolicy, load_native

__all__ = ["NativePolicy", "load_native"]
