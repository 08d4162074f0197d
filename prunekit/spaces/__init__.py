"""Kinds of actions, one a file; importing this package registers all of them.

A new kind is a new file here: nothing lists it.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
