"""Put the figures of the committed result files into README and docs, between their markers, and draw pictures.

python benchmarks/readme.py           # rewrites the pages
python benchmarks/readme.py --check   # exit code 1 where a page is not what the results say
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bounds_tables import honesty_bounds_table, samples_table
from claims_tables import claims_table, honesty_table
from compress_tables import rivals_table, tuning_choices_table
from driving_tables import boards_table as driving_boards_table
from driving_tables import driving_table
from embedded_tables import (
    boards_table,
    c_choices_table,
    c_math_text,
    devices_short_table,
    devices_table,
    host_latency_table,
    int8_table,
    loop_table,
    rounding_table,
)
from frontier_picture import frontier_picture
from growth_table import growth_table
from highlights import compress_short, highlights
from installation import installation_table
from published_table import published_table
from record import digest, read_result, stamp, table
from robustness_tables import disturbances_table, disturbed_compression_table
from search_tables import (
    busy_table,
    compress_table,
    held_out_table,
    parts_table,
    published_compressions_table,
    speed_table,
)
from study_picture import study_picture
from sweep_tables import ablations_sweep_table, masked_training_table, pairs_table, robustness_table, sweep_kills_text

from prunekit.files import write_atomically

ROOT = Path(__file__).parents[1]
# Of a chi-square with 2 degrees of freedom, over its mean: log 2.
_MEDIAN_OF_CHI_SQUARE = 0.693


def demo_table(result: Mapping[str, Any]) -> str:
    """Return the demo's comparison, quantities down and models across."""
    models = result["bench"]["models"]
    (shown,) = result["bench"]["certificates"].values()
    devices = [model["devices"]["cpu"] for model in models]
    rows = [
        ["hidden units", *(_widths(model) for model in models)],
        ["hidden units removed", "", f"{_removed(models, 'units'):.1%}"],
        ["parameters", *(f"{model['parameters']:,}" for model in models)],
        ["parameters removed", "", f"{_removed(models, 'parameters'):.1%}"],
        ["multiply-accumulates", *(f"{model['macs']:,}" for model in models)],
        ["ONNX file", *(f"{model['size_bytes'] / 1024:,.1f} KiB" for model in models)],
        ["latency, back to back, p50", *(f"{device['latency_us']['p50']:.1f} us" for device in devices)],
        ["latency at 50 Hz, p50", *(f"{device['paced_latency_us']['p50']:.0f} us" for device in devices)],
        ["memory per loaded model", *(f"{device['marginal_memory_bytes'] / 1024:,.0f} KiB" for device in devices)],
        ["return, 100 episodes", *(f"{device['return']['mean']:.1f}" for device in devices)],
        ["retention", "", f"{shown['retention']:.3f}, {shown['verdict']} to be at least {shown['keep']:g}"],
    ]
    return f"{table(['CartPole-v1', 'unpruned', 'compact'], rows)}\n\n{stamp(result)}."


def training_speed_table(result: Mapping[str, Any]) -> str:
    """Return one row per algorithm and round, and the medians."""
    rows = []
    for algorithm, found in result["algorithms"].items():
        name = f"{result['env']}, {algorithm}, {found['steps']:,} steps"
        for entry in found["rounds"]:
            ratios = [f"{entry[kind]:.0f} s ({entry[kind] / entry['plain']:.2f})" for kind in ("masked", "live")]
            rows.append([name, str(entry["seed"]), f"{entry['plain']:.0f} s", *ratios])
        medians = found["median_over_plain"]
        rows.append([name, "median", "", f"**{medians['masked']:.2f}**", f"**{medians['live']:.2f}**"])
    head = ["", "seed", "plain SB3, unpruned", "masked (ratio to plain)", "live shrinking (ratio to plain)"]
    return f"{table(head, rows)}\n\n{stamp(result)}."


def training_profile_table(result: Mapping[str, Any]) -> str:
    """Return the share of a live-shrinking run that each part takes, per algorithm."""
    names = list(result["algorithms"])
    parts = list(result["algorithms"][names[0]]["profile"])
    rows = [[part, *(f"{result['algorithms'][name]['profile'][part]:.1%}" for name in names)] for part in parts]
    return f"{table(['share of the time of a live-shrinking run', *names], rows)}\n\n{stamp(result)}."


def off_policy_table(result: Mapping[str, Any]) -> str:
    """Return one row per kind and seed: sizes, return, retention, and the time that training took."""
    rows = []
    for run in result["runs"]:
        kept = list(run["bench"]["retention"].values())
        for index, kind in enumerate(run["kinds"]):
            model = run["bench"]["models"][index]
            rows.append(
                [
                    str(run["seed"]),
                    {"dense": "unpruned"}.get(kind, kind),
                    _widths(model),
                    f"{model['parameters']:,}",
                    f"{model['devices']['cpu']['return']['mean']:,.0f}",
                    f"{kept[index]['estimate']:.3f}" if index else "",
                    f"{run['curves'][kind][-1]['seconds'] / 60:.0f} min",
                ]
            )
    head = ["seed", "policy", "hidden units", "parameters", "return", "retention", "training"]
    title = f"{result['algorithm'].upper()}, {result['env']}, {result['steps']:,} steps"
    return f"{title}:\n\n{table(head, rows)}\n\n{stamp(result)}."


def ablations_table(result: Mapping[str, Any]) -> str:
    """Return one row per variant: returns, and whether the difference to the default is more than noise.

    Noise: 2 standard errors of a difference of means. The variance between seeds of a variant is its own, or the usual
    one of all variants where that is larger, as two or three seeds that agree do not show that seeds agree.
    """
    runs = result["runs"]
    means = {(run["env"], run["variant"], run["seed"]): statistics.mean(run["returns"]) for run in runs}
    envs, variants = list(result["steps"]), list(dict.fromkeys(run["variant"] for run in runs))
    rows = []
    usual = {env: _usual_variance([_of(means, env, variant) for variant in variants]) for env in envs}
    for variant in variants:
        row = [variant]
        for env in envs:
            own, base = _of(means, env, variant), _of(means, env, "default")
            if not own:
                row += ["", ""]
                continue
            change = statistics.mean(own) - statistics.mean(base)
            noise = 2.0 * (_of_mean(own, usual[env]) + _of_mean(base, usual[env])) ** 0.5
            verdict = "" if variant == "default" else f" ({change:+,.0f}{', noise' if abs(change) < noise else ''})"
            row += [f"{statistics.mean(own):,.0f}{verdict}", ", ".join(f"{mean:,.0f}" for mean in own)]
        rows.append(row)
    head = ["changed"] + [title for env in envs for title in (f"{env}, mean (to default)", "seeds")]
    spread = ", ".join(f"{env} {usual[env] ** 0.5:,.0f}" for env in envs)
    text = (
        "*Noise*: the difference of the means is within 2 standard errors. These use the standard deviation between a "
        f"variant's seeds, or the typical one of all variants if that is larger ({spread})"
    )
    missing = f" Not run yet: {len(result['missing'])} of {len(result['missing']) + len(runs)} runs." * bool(
        result["missing"]
    )
    return f"{table(head, rows)}\n\n{text}.{missing} {stamp(result)}."


def _of(means: Mapping[tuple[str, str, int], float], env: str, variant: str) -> list[float]:
    return [mean for (own_env, own, _), mean in sorted(means.items()) if (own_env, own) == (env, variant)]


def _usual_variance(groups: Sequence[Sequence[float]]) -> float:
    """Return the variance between three seeds of one variant: from the median, so that no wild variant rules it."""
    variances = [statistics.variance(group) for group in groups if len(group) > 2]
    return statistics.median(variances) / _MEDIAN_OF_CHI_SQUARE if variances else 0.0


def many_actions_table(result: Mapping[str, Any]) -> str:
    """Return one row per number of actions and network: processor seconds of masked and of unpruned training."""
    rows = [
        [
            f"{row['actions']:,}",
            row["hidden"].replace(",", "x"),
            ", ".join(f"{value:.1f}" for value in row["unpruned"]),
            ", ".join(f"{value:.1f}" for value in row["masked"]),
            f"{row['median_ratio']:.2f}",
        ]
        for row in result["rows"]
    ]
    head = ["actions", "hidden", "unpruned, s", "masked, s", "median ratio"]
    return f"{table(head, rows)}\n\nPPO, {result['steps']:,} steps, interleaved. {stamp(result)}."


def _of_mean(group: Sequence[float], usual: float) -> float:
    own = statistics.variance(group) if len(group) > 1 else 0.0
    return max(own, usual) / len(group)


Table = Callable[[Mapping[str, Any]], str]
PAGES: dict[str, dict[str, tuple[str, Table]]] = {
    "README.md": {"highlights": ("compress", highlights), "compress_short": ("compress", compress_short)},
    "docs/results.md": {
        "demo": ("demo", demo_table),
        "compress": ("compress", compress_table),
        "compress_held_out": ("compress", held_out_table),
        "devices_short": ("devices", devices_short_table),
        "masked_training": ("masked_training", masked_training_table),
        "masked_training_pairs": ("masked_training", pairs_table),
        "off_policy": ("off_policy", off_policy_table),
        "training_speed": ("training_speed", training_speed_table),
    },
    "docs/compress.md": {
        "compress": ("compress", compress_table),
        "compress_held_out": ("compress", held_out_table),
        "compress_published": ("compress_published", published_compressions_table),
        "compress_busy": ("compress_busy", busy_table),
        "compress_speed": ("compress_speed", speed_table),
        "compress_ablations": ("compress_ablations", parts_table),
        "compression_rivals": ("compression_rivals", rivals_table),
        "honesty": ("honesty", honesty_table),
    },
    "docs/statistics.md": {
        "certificate_samples": ("certificate_samples", samples_table),
        "honesty_bounds": ("honesty_bounds", honesty_bounds_table),
    },
    "docs/embedded.md": {
        "c_math": ("c_math", c_math_text),
        "int8": ("devices", int8_table),
        "devices": ("devices", devices_table),
        "loop": ("devices", loop_table),
        "host_latency": ("host_latency", host_latency_table),
    },
    "docs/guides/deploy.md": {"boards": ("devices", boards_table)},
    "docs/installation.md": {"installation": ("installation", installation_table)},
    "docs/ops.md": {"growth": ("growth", growth_table)},
    "docs/decisions/0010-policies-as-c.md": {
        "c_choices": ("c_choices", c_choices_table),
        "integer_rounding": ("integer_rounding", rounding_table),
    },
    "docs/decisions/0011-natural-gradients-and-an-average.md": {
        "tuning_choices": ("tuning_choices", lambda result: tuning_choices_table(result, imitation=False))
    },
    "docs/decisions/0012-imitation-ends-with-gauss-newton.md": {
        "tuning_choices": ("tuning_choices", lambda result: tuning_choices_table(result, imitation=True))
    },
    "docs/decisions/0013-claims-about-clipped-returns.md": {"claims": ("claims", claims_table)},
    "docs/training.md": {
        "training_profile": ("training_speed", training_profile_table),
        "many_actions": ("many_actions", many_actions_table),
    },
    "docs/driving.md": {"driving": ("driving", driving_table), "boards": ("driving", driving_boards_table)},
    "docs/robustness.md": {
        "disturbed_compression": ("disturbed_compression", disturbed_compression_table),
        "robustness": ("robustness", disturbances_table),
        "masked_training_robustness": ("masked_training", robustness_table),
    },
    "docs/readers.md": {"published_policies": ("published_policies", published_table)},
    "docs/sweep.md": {"sweep_kills": ("sweep_kills", sweep_kills_text)},
    "docs/defaults.md": {
        "ablations": ("ablations", ablations_sweep_table),
        "ablations_half_length": ("ablations_half_length", ablations_table),
    },
}


PICTURES = {
    "docs/pictures/frontier.svg": ("compress", frontier_picture),
    "docs/pictures/masked_training.svg": ("masked_training", study_picture),
}


def rendered(page: str, text: str) -> str:
    """Return ``text`` of ``page`` with every marked section replaced by what its result file says."""
    for section, (name, written) in PAGES[page].items():
        result = read_result(name)
        body = "Not measured yet." if result is None else written(result)
        begin, end = f"<!-- {section} -->", f"<!-- /{section} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise SystemExit(f"{page} needs one section between {begin} and {end}")
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{body}\n{end}{rest.split(end)[1]}"
    return text


def _widths(model: Mapping[str, Any]) -> str:
    return "x".join(str(width) for width in model["hidden"])


def _removed(models: Sequence[Mapping[str, Any]], key: str) -> float:
    return 1.0 - float(models[1][key]) / float(models[0][key])


def main() -> None:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for page in PAGES:
        text = (ROOT / page).read_text()
        new = rendered(page, text)
        if check and new != text:
            sys.exit(f"{page} is not what the results say; run python benchmarks/readme.py")
        if new != text:
            write_atomically(ROOT / page, new.encode())
    for picture, (name, drawn) in PICTURES.items():
        path, result = ROOT / picture, read_result(name)
        if result is None or (path.exists() and digest(result) in path.read_text()):
            continue
        if check:
            sys.exit(f"{picture} is of other results; run python benchmarks/readme.py")
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, drawn(result))


if __name__ == "__main__":
    main()
