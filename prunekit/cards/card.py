"""A model card in the Hugging Face format: front matter for the hub's leaderboards, and a page for people.

Every figure comes from the policy's file: its sizes, and the returns and the claim of its certificate. A policy without
recorded returns has a card without results.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any, final

from prunekit.console import in_words, printable, size_name
from prunekit.environment_functions import is_module_name
from prunekit.stats.claim import counted

README, CERTIFICATE = "README.md", "certificate.json"
_LIBRARY = "prunekit"
_PAGE = "https://huggingface.co/docs/hub/models-uploading"
_LONGEST = 300


@final
@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """The facts on a card of the policy ``name``.

    ``hidden`` and ``parameters`` are its sizes, ``teacher_hidden`` and ``teacher_parameters`` those of the policy that
    it imitates. ``returns`` are one per episode, of the policy, its ``teacher`` and the ``random`` policy with the same
    seeds. ``claim`` is the certificate's sentence; ``certified`` is None without a certificate. ``inputs`` are the
    names of the ONNX file's inputs, including states. ``disturbance`` applied to all policies in these episodes; it is
    empty if there was none.
    """

    name: str
    environment: str | None
    hidden: tuple[int, ...]
    parameters: int
    inputs: tuple[str, ...] = ("obs",)
    certified: bool | None = None
    claim: str = ""
    retention: float | None = None
    returns: tuple[float, ...] = ()
    teacher: tuple[float, ...] = ()
    random: tuple[float, ...] = ()
    teacher_hidden: tuple[int, ...] | None = None
    teacher_parameters: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    disturbance: Mapping[str, Any] = field(default_factory=dict)


def model_card(facts: CardFacts) -> str:
    """Return the text of the README.md next to ``policy.onnx`` and ``policy.pt``.

    >>> text = model_card(CardFacts(name="small", environment="CartPole-v1", hidden=(4,), parameters=30))
    >>> text.startswith("---\\nlibrary_name: prunekit\\n")
    True
    """
    import yaml

    matter: str = yaml.safe_dump(front_matter(facts), sort_keys=False, allow_unicode=True, width=1_000)
    parts = [_title(facts), _table(facts), _certificate(facts), _use(facts), _files(facts)]
    return "---\n" + matter + "---\n" + "\n\n".join(part for part in parts if part) + "\n"


def front_matter(facts: CardFacts) -> dict[str, Any]:
    """Return the front matter as plain data: library, tags, and results in the form that the hub's leaderboards
    read.
    """
    env = facts.environment
    tags = ["reinforcement-learning", "deep-reinforcement-learning", *([] if env is None else [_short(env)])]
    found: dict[str, Any] = {
        "library_name": _LIBRARY,
        "pipeline_tag": "reinforcement-learning",
        "tags": [*tags, "pruning", "onnx"],
    }
    if env is None or not facts.returns:
        return found
    metric = {"type": "mean_reward", "value": _mean(facts.returns), "name": "mean_reward", "verified": False}
    result = {
        "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
        "dataset": {"name": f"{_short(env)}, disturbed" if facts.disturbance else _short(env), "type": _short(env)},
        "metrics": [metric],
    }
    return {**found, "model-index": [{"name": _short(facts.name), "results": [result]}]}


def facts_on_record(
    found: Mapping[str, Any],
    *,
    name: str,
    hidden: Sequence[int],
    parameters: int,
    inputs: Sequence[str] = ("obs",),
) -> CardFacts:
    """Return the recorded facts about a policy, from the ``certificate.json`` of ``compress`` or from a file's
    metadata.

    ``found`` is not trusted: values of the wrong type are left out.
    """
    certificate = _mapping(found.get("certificate"))
    returns, size = _mapping(certificate.get("returns")), _mapping(_mapping(found.get("teacher")).get("size"))
    env = _mapping(found.get("env")).get("id")
    certified = found.get("certified", certificate.get("verdict") == "certified" if certificate else None)
    count = size.get("parameters")
    return CardFacts(
        name=name,
        environment=env if isinstance(env, str) else None,
        hidden=tuple(hidden),
        parameters=parameters,
        inputs=tuple(inputs),
        certified=certified if isinstance(certified, bool) else None,
        claim=str(certificate.get("claim", "")),
        retention=_number(certificate.get("retention")),
        returns=_numbers(returns.get("small")),
        teacher=_numbers(returns.get("dense")),
        random=_numbers(returns.get("random")),
        teacher_hidden=_counts(size.get("hidden")),
        teacher_parameters=None if _counts([count]) is None else count,
        versions={_short(key): _short(value) for key, value in _mapping(found.get("versions")).items()},
        disturbance={str(key): value for key, value in _mapping(found.get("disturbance")).items() if value},
    )


def card_of_compression(found: Mapping[str, Any], folder: Path) -> dict[Path, bytes]:
    """Return the card for the ``certificate.json`` with the content ``found``, keyed by its path in ``folder``.

    Empty if there is a README.md that is not a card of prunekit.
    """
    path, hidden, parameters = folder / README, found["hidden"], found["parameters"]
    if not may_be_written(path):
        return {}
    facts = facts_on_record(found, name=folder.resolve().name, hidden=hidden, parameters=parameters)
    return {path: model_card(facts).encode()}


def may_be_written(path: Path) -> bool:
    """Return whether a card may be written to ``path``: the file does not exist, or is a card of prunekit."""
    if not path.exists():
        return True
    try:
        with path.open("rb") as file:
            return file.read(100).startswith(f"---\nlibrary_name: {_LIBRARY}\n".encode())
    except OSError:
        return False


def _title(facts: CardFacts) -> str:
    where = "" if facts.environment is None else f" for `{_code(facts.environment)}`"
    layers = f"hidden units {size_name(facts.hidden)}" if facts.hidden else "no hidden units"
    return (
        f"# {_plain(facts.name)}\n\nA policy{where}: {layers}, {facts.parameters:,} parameters. "
        "Made by prunekit, which makes reinforcement-learning policies small and shows what they keep."
    )


def _table(facts: CardFacts) -> str:
    rows = [("hidden units", size_name(facts.hidden)), ("parameters", f"{facts.parameters:,}")]
    if facts.teacher_parameters is not None:
        rows.append(("parameters of the teacher", f"{facts.teacher_parameters:,}"))
    if facts.teacher_hidden is not None:
        rows.append(("the teacher's hidden units", size_name(facts.teacher_hidden)))
    if facts.disturbance:
        rows.append(("everybody played under", _plain(in_words(facts.disturbance))))
    for who, returns in (
        ("", facts.returns),
        (" of the teacher", facts.teacher),
        (" of the random policy", facts.random),
    ):
        if returns:
            rows.append((f"mean return{who}, {counted(len(returns), 'episode')}", _mean(returns)))
    if facts.retention is not None:
        rows.append(("retention, clipped", f"{facts.retention:.3f}"))
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


def _certificate(facts: CardFacts) -> str:
    if facts.certified is None or not facts.claim:
        return ""
    head = "**Certificate:** " if facts.certified else ""
    return f"{head}{_plain(facts.claim)} Every episode and its seed are in `{CERTIFICATE}`."


def _use(facts: CardFacts) -> str:
    if len(facts.inputs) != 1 or facts.environment is None:
        return 'In Python: `policy = prunekit.load("policy.pt")`, `policy.reset()`, `policy.act(observation)`.'
    package, name, made = "gymnasium", "Gymnasium", f"gymnasium.make({json.dumps(_code(facts.environment))})"
    module, _, function = facts.environment.rpartition(":")
    if is_module_name(module) and function.isidentifier():
        package, name, made = module, f"`{module}`", f"{module}.{function}()"
    return f"""Run it with {name}, NumPy and ONNX Runtime alone:

```python
import {package}
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("policy.onnx")
env = {made}
obs, _ = env.reset(seed=0)
action = session.run(["action"], {{{json.dumps(_code(facts.inputs[0]))}: obs[None].astype(np.float32)}})[0][0]
```"""


def _files(facts: CardFacts) -> str:
    versions = ", ".join(f"{_plain(name)} {_plain(version)}" for name, version in facts.versions.items())
    made = f" Made with {versions}." if versions else ""
    return (
        "`policy.onnx` runs in any ONNX runtime. prunekit inspects, measures and certifies either file, and exports C "
        f"for microcontrollers.{made} This folder can be [uploaded]({_PAGE}) as it is."
    )


def _mean(returns: Sequence[float]) -> str:
    """Return mean and standard deviation in the form that the hub's leaderboards read."""
    return f"{mean(returns):.2f} +/- {stdev(returns) if len(returns) > 1 else 0.0:.2f}"


def _short(value: object) -> str:
    text = printable(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _plain(value: object) -> str:
    """Return untrusted text that Markdown shows literally: no tags, links or cells, and one line."""
    found = html.escape(printable(value), quote=False)
    return "".join(f"\\{char}" if char in "\\`*_[]|#" else char for char in found)


def _code(value: object) -> str:
    """Return untrusted text for the inside of a code span or block."""
    return _short(value).replace("`", "'")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # files may hold whole numbers of any length
        return None
    return number if math.isfinite(number) else None


def _numbers(values: object) -> tuple[float, ...]:
    found = [_number(value) for value in values] if isinstance(values, list) else []
    return tuple(value for value in found if value is not None) if None not in found else ()


def _counts(values: object) -> tuple[int, ...] | None:
    if not isinstance(values, list | tuple):
        return None
    found = tuple(value for value in values if type(value) is int and 0 <= value < 2**53)
    return found if len(found) == len(values) else None
