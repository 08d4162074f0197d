"""prunekit's own runtimes: policies as compiled C.

``load_native("model.pt")`` returns a policy as machine code of this computer.
"""

from prunekit.runtimes.native import NativePolicy, load_native

__all__ = ["NativePolicy", "load_native"]
