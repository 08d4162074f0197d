"""The tables of ``docs/embedded.md``, from the committed results."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from record import stamp, table

_FORMS = ("float32", "w8a16", "w8a8")
_BOARDS = (
    ("Arduino Uno", "atmega328p", "avr-uno"),
    ("STM32F411", "stm32f411ce", "cortex-m4"),
    ("ESP32-C3", "esp32c3", "riscv32"),
    ("RP2040", "rp2040", "cortex-m0"),
)
# Of the median return: what earns less fell.
_FELL = 0.9


def c_math_text(result: Mapping[str, Any]) -> str:
    """Return the errors of the functions that the C is made of."""
    errors = {name: entry["largest absolute error over float32"] for name, entry in result["functions"].items()}
    each = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    return f"Largest absolute errors, over every float32: {each} (`{result['command']}`, {result['date']})."


def c_choices_table(result: Mapping[str, Any]) -> str:
    """Return two tables: variants of the C, and the width of vectors."""
    policies = list(result["kernels"])
    rows = []
    for variant in result["kernels"][policies[0]]:
        found = [result["kernels"][policy][variant] for policy in policies]
        cells = [f"{e['cortex-m4 instructions']:,}, {e['cortex-m4 flash bytes']:,} B, {e['host ns']:,}" for e in found]
        rows.append([variant, *cells])
    kernels = table(["Cortex-M4 instructions, flash; ns on a PC", *policies], rows)
    widths = [
        [
            shape,
            f"{found['bytes'] / 1024:.0f} KiB",
            f"{found['ns, 256 bits']:,}",
            f"{found['ns, 512 bits']:,}",
            "512" if found["wide"] else "256",
        ]
        for shape, found in result["vectors"].items()
    ]
    vectors = table(
        ["11 inputs, 3 outputs, hidden", "constants", "ns, vectors of 256 bits", "of 512 bits", "asked for"], widths
    )
    return f"{kernels}\n\n{vectors}\n\n{stamp(result)}."


def rounding_table(result: Mapping[str, Any]) -> str:
    """Return the errors of actions under three ways of rounding weights, and what the last two keep of the return."""
    ways = ("each for itself", "before", "now")
    rows = []
    for entry in result["errors"]:
        cells = [_error(entry["unit"], entry["ways"][way]) for way in ways]
        rows.append([entry["policy"], entry["fitted on"], entry["judged on"], *cells])
    head = ["policy", "fitted on", "judged on", "each for itself", "one step, 1% damping", "as it is"]
    kept = [
        [entry["policy"], *(f"{entry[way]['estimate']:.3f}, at least {entry[way]['lower95']:.3f}" for way in ways[1:])]
        for entry in result["returns"]
    ]
    returns = table(["w8a16 keeps of the return in float32", "one step, 1% damping", "as it is"], kept)
    return f"{table(head, rows)}\n\n{returns}\n\n{stamp(result)}."


def _error(unit: str, found: Mapping[str, float]) -> str:
    if unit == "share of other actions":
        return f"{found['share']:.2%} others"
    return f"{found['rms']:.2g}, at most {found['largest']:.2g}"


def int8_table(result: Mapping[str, Any]) -> str:
    """Return one row per policy: return in float32, retention of the integer forms, and of float32 under noise."""
    rows = []
    for entry in result["int8"]:
        cells = [_kept(entry["retention"][form]) for form in (*_FORMS[1:], "float64")]
        noise = [found["retention"] for found in result["noise"] if found["policy"] == entry["policy"]]
        estimates, bounds = (_span([own[key] for own in noise]) for key in ("estimate", "lower95"))
        cells.insert(2, f"{estimates}, at least {bounds}" if noise else "")
        rows.append([entry["policy"], f"{statistics.mean(entry['returns']['float32']):,.0f}", *cells])
    draws = len({found["noise_seed"] for found in result["noise"]})
    head = ["policy", "return in float32", *(f"retention of {form} (95% bootstrap bound)" for form in _FORMS[1:])]
    head += [f"retention of float32 under noise of w8a16's size, {draws} draws", "retention of float64"]
    more = [_more(entry) for entry in result["more"]]
    return f"{table(head, rows)}\n\n{' '.join([*more, stamp(result)])}."


def _kept(own: Mapping[str, float]) -> str:
    return f"{own['estimate']:.3f}, at least {own['lower95']:.3f}"


def _more(entry: Mapping[str, Any]) -> str:
    returns = entry["returns"]
    low = _FELL * statistics.median(returns["float32"])
    fell = [sum(own < low for own in returns[form]) for form in _FORMS[:2]]
    return (
        f"{entry['policy']} over {len(returns['float32']):,} other episodes: w8a16 keeps "
        f"{_kept(entry['retention']['w8a16'])}; {fell[0]} of them earn less than {_FELL:g} of float32's median in "
        f"float32, {fell[1]} in w8a16."
    )


def _span(values: Sequence[float]) -> str:
    return f"{min(values, default=0.0):.3f} to {max(values, default=0.0):.3f}"


def devices_table(result: Mapping[str, Any]) -> str:
    """Return two tables: every core and form of the policies of Hopper-v5, and whose bits were the same."""
    policies = ("Hopper-v5 dense", "Hopper-v5 compact", "11-18-18-3")
    rows = []
    for device in dict.fromkeys(entry["device"] for entry in result["measured"]):
        for form in _FORMS:
            found = [_entry(result, policy, form, device) for policy in policies]
            if any(found):
                rows.append([device, form, *(cell for entry in found for cell in (_cost(entry), _memory(entry)))])
    shape = {name: "x".join(map(str, _any(result, name)["hidden"])) for name in policies}
    head = ["device", "form"]
    head += [text for name in policies for text in (f"{name} ({shape[name]}): {_unit_of()}", "flash, stack")]
    missing = f" Not measured yet: {len(result['missing'])} entries." * bool(result["missing"])
    tools = ", ".join(dict.fromkeys(text.split(" (Debian")[0] for text in result["tools"].values()))
    return f"{table(head, rows)}\n\n{_bits(result)}{missing} {stamp(result)}, {tools}."


def devices_short_table(result: Mapping[str, Any]) -> str:
    """Return dense beside compact on some cores, float32 and w8a16."""
    rows = []
    for device in ("cortex-m0", "cortex-m4", "cortex-m7", "riscv32", "avr-uno"):
        for form in _FORMS[:2]:
            found = [_entry(result, f"Hopper-v5 {kind}", form, device) for kind in ("dense", "compact")]
            if all(found):
                rows.append([device, form, *(cell for entry in found for cell in (_cost(entry), _memory(entry)))])
    head = ["Hopper-v5, an action on", "form"]
    for kind in ("dense", "compact"):
        hidden = "x".join(map(str, _any(result, f"Hopper-v5 {kind}")["hidden"]))
        head += [f"{kind} ({hidden}): {_unit_of()}", "flash, stack"]
    return f"{table(head, rows)}\n\n{stamp(result)}."


def boards_table(result: Mapping[str, Any]) -> str:
    """Return one row per board: what the compact Hopper-v5 policy takes of its core, in float32 and w8a16."""
    rows = []
    for board, part, device in _BOARDS:
        found = [_entry(result, "Hopper-v5 compact", form, device) for form in _FORMS[:2]]
        if all(found):
            unit = "cycles" if device.startswith("avr") else "instructions"
            cells = [(_flash_and_ram(entry), f"{_cost(entry)} {unit}") for entry in found]
            rows.append([board, f"`{part}`", device, *(cell for pair in cells for cell in pair)])
    head = ["board", "`--part`", "core"]
    head += [f"{form}: {what}" for form in ("float32", "int8") for what in ("flash, RAM", "cost")]
    return f"{table(head, rows)}\n\n{stamp(result)}."


def loop_table(result: Mapping[str, Any]) -> str:
    """Return one row per environment, policy and device: returns, and how many actions had the host's bits."""
    rows = []
    for env_id, bench in result["loop"].items():
        for model in bench["models"]:
            host = model["devices"]["cpu-c"]["return"]
            for device, found in model["devices"].items():
                firmware, name = found["firmware"], f"{env_id}, {'x'.join(map(str, model['hidden'])) or 'linear'}"
                if firmware is None:
                    rows.append([name, device, str(host["episodes"]), f"{host['mean']:,.2f}", "", ""])
                elif found["return"] is None:
                    rows.append([name, device, "", "does not fit", "", ""])
                else:
                    same = "yes" if found["return"]["returns"] == host["returns"] else "no"
                    equal = firmware["compared_actions"] - firmware["different_actions"]
                    actions = f"{equal:,} of {firmware['compared_actions']:,}"
                    own = found["return"]
                    rows.append([name, device, str(own["episodes"]), f"{own['mean']:,.2f}", same, actions])
    head = ["environment, hidden", "device", "episodes", "return", "returns equal to cpu-c", "actions with equal bits"]
    return f"{table(head, rows)}\n\n{stamp(result)}."


def host_latency_table(result: Mapping[str, Any]) -> str:
    """Return one row per way to run a policy, one column per policy."""
    policies = list(result["microseconds"])
    rows = []
    for way in result["microseconds"][policies[0]]:
        found = [result["microseconds"][policy][way] for policy in policies]
        rows.append([way, *(f"{entry['p50']:.3g}, {entry['p99']:.3g}" for entry in found)])
    return f"{table(['one action, us: p50, p99', *policies], rows)}\n\n{result['host']['cpu']}. {stamp(result)}."


def _entry(result: Mapping[str, Any], policy: str, form: str, device: str) -> dict[str, Any] | None:
    keys = (policy, form, device)
    return next((e for e in result["measured"] if (e["policy"], e["form"], e["device"]) == keys), None)


def _any(result: Mapping[str, Any], policy: str) -> dict[str, Any]:
    return next(entry for entry in result["measured"] if entry["policy"] == policy)


def _unit_of() -> str:
    return "instructions (AVR: cycles)"


def _cost(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ""
    return f"{entry['p50']:,}" if "p50" in entry else "does not fit"


def _memory(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ""
    if "p50" not in entry:
        least = "at least " if entry.get("at_least") else ""
        over = [f"{more:,} B of {where}" for where, more in entry["overflow_bytes"].items() if more]
        return f"{least}{', '.join(over)} too many"
    return f"{entry['flash_bytes']:,} B, {entry['stack_bytes']:,} B"


def _flash_and_ram(entry: Mapping[str, Any] | None) -> str:
    if entry is None or "p50" not in entry:
        return _memory(entry)
    return f"{entry['flash_bytes']:,} B, {entry['static_ram_bytes'] + entry['stack_bytes']:,} B"


def _bits(result: Mapping[str, Any]) -> str:
    run = [entry for entry in result["measured"] if "p50" in entry]
    same = [entry for entry in run if entry["bits_of_twin"] and entry["bits_of_host"]]
    actions = sum(entry["observations"] for entry in run)
    policies = len({entry["policy"] for entry in run})
    cores = len({entry["device"] for entry in run})
    return (
        f"In {len(same)} of {len(run)} measurements ({policies} policies, {cores} cores, {actions:,} actions, 1,000 of "
        "every compact policy) all bits were those of the C on this machine and of its twin in NumPy."
    )
