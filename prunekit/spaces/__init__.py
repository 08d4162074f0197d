"""Kinds of actions, one per file; importing this package registers all of them.

A new kind needs only a new file here.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
