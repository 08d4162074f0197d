"""A policy's C, compiled once for this machine and called from Python with little overhead."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from prunekit.compiled import cache_folder, cache_key, host_compiler, made_once, run_tool, version_of
from prunekit.errors import InputError
from prunekit.export.c_code import CCode, require_one_flat_input
from prunekit.export.c_float import float_to_c

FLAGS = ("-std=c99", "-O3", "-march=native", "-ffp-contract=off", "-fPIC", "-shared")
_EXTENSION = Path(__file__).parent / "extension.c"
_MODULE = "prunekit_policy"
_PURPOSE = "the policy's C on this computer"


@final
class NativePolicy:
    """A policy as machine code of this computer. Different policies may be called from different threads.

    ``run`` is the compiled function. ``run(observation, action)`` fills ``action`` float32 [outputs]; for discrete
    actions, ``run(observation)`` returns the number of the action. Both take only contiguous, aligned float32 arrays of
    the policy's widths, and ``action`` must be writable; anything else raises ValueError, BufferError or TypeError.

    Raises InputError if there is no C compiler or no Python headers, and for a policy with several inputs or a state.
    """

    def __init__(self, code: CCode) -> None:
        require_one_flat_input(code, "the compiled policy")
        self._module = _load(_compiled(code))
        self.inputs, self.outputs = code.inputs, code.outputs
        self.run: Callable[..., Any] = self._module.run

    def act(self, observation: Any) -> int | NDArray[np.float32]:
        """Return the action for a raw observation [inputs] of any number type: float32 [outputs], or the number of the
        action.
        """
        seen = np.require(observation, np.float32, ["C", "A"])
        if self.outputs is None:
            return int(self.run(seen))
        action = np.empty(self.outputs, np.float32)
        self.run(seen, action)
        return action


def load_native(path: str | Path) -> NativePolicy:
    """Return the policy of a ``model.pt`` as machine code, in float32 with the same bits as on every core.

    Raises ArtifactError for any other file, and InputError for a policy that C does not support or if there is no
    compiler.
    """
    from prunekit.policy.model_file import read_model_file

    return NativePolicy(float_to_c(read_model_file(Path(path)).graph, "policy", {}))


def _compiled(code: CCode) -> Path:
    compiler = host_compiler(_PURPOSE)
    include = sysconfig.get_path("include")
    if not (Path(include) / "Python.h").is_file():
        raise InputError(f"{_PURPOSE} needs Python's headers (Python.h); run: apt-get install python3-dev")
    glue = _EXTENSION.read_text()
    version = version_of(compiler)
    flags = (*FLAGS, *vector_flags(wide=code.wide)) if "clang" not in version else FLAGS
    if sys.platform == "darwin":  # Python's own symbols are resolved when the extension is loaded
        flags = (*flags, "-undefined", "dynamic_lookup")
    tag = sysconfig.get_config_var("SOABI")
    kept = cache_folder() / "native" / cache_key(code, glue, flags, version, tag, _processor()) / f"{_MODULE}.so"

    def make(folder: Path) -> Path:
        code.write(folder)
        definitions = [
            f'-DPolicyHeader="{code.name}.h"',
            f"-DPolicyAction={code.name}_action",
            f"-DPolicyInputs={code.inputs}",
            f"-DPolicyOutputs={code.outputs or 0}",
        ]
        made = folder / f"{_MODULE}.so"
        sources = [f"{code.name}.c", str(_EXTENSION)]
        run_tool([compiler, *flags, *definitions, "-iquote", ".", f"-I{include}", *sources, "-o", str(made)], folder)
        return made

    return made_once(kept, make)


def vector_flags(*, wide: bool) -> tuple[str, ...]:
    """Return the compiler flags for the width of vectors; processors without 512-bit vectors use their own width."""
    x86 = sysconfig.get_platform().endswith(("x86_64", "amd64"))
    return (f"-mprefer-vector-width={512 if wide else 256}",) if x86 else ()


def _load(path: Path) -> ModuleType:
    loader = ExtensionFileLoader(_MODULE, str(path))
    spec = importlib.util.spec_from_file_location(_MODULE, path, loader=loader)
    assert spec is not None
    try:
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    except ImportError as error:
        raise InputError(
            f"{path}: {_PURPOSE} cannot be loaded ({error}); if programs may not be run from that folder, name another "
            "with TMPDIR"
        ) from error
    return module


def _processor() -> str:
    """Return what ``-march=native`` means on this machine, because a cache in a home folder may serve several
    machines.
    """
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return sysconfig.get_platform()
    lines = facts.read_text().splitlines()
    return "".join(line for line in dict.fromkeys(lines) if line.startswith(("model name", "flags", "Features")))
