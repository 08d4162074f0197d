"""A policy as an Arduino library: its C, the metadata for the library manager, and an example sketch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunekit.export.c_code import CCode
from prunekit.versions import installed_versions


def library_paths(name: str) -> tuple[str, ...]:
    """Return the paths of the library's files, by the Arduino library specification 1.5."""
    title = _title(name)
    source = (f"{title}/src/{name}.h", f"{title}/src/{name}.c")
    return f"{title}/library.properties", f"{title}/keywords.txt", f"{title}/examples/Run/Run.ino", *source


def arduino_library(code: CCode, metadata: Mapping[str, Any], self_test: bool) -> tuple[str, ...]:
    """Return the contents of the files that ``library_paths`` names."""
    environment = metadata.get("env")
    task = environment.get("id") if isinstance(environment, Mapping) else None
    properties = {
        "name": _title(code.name),
        "version": _version(),
        "author": "prunekit",
        "maintainer": "prunekit",
        "sentence": "A trained policy, as plain C.",
        "paragraph": "Maps an observation to an action, without allocation and without dependencies.",
        "category": "Device Control",
        "architectures": "*",
        "includes": f"{code.name}.h",
    }
    if isinstance(task, str) and task.isprintable():
        properties["paragraph"] += f" Trained in {task}."
    keywords = [f"{code.name}_action\tKEYWORD2"] + ([f"{code.name}_self_test\tKEYWORD2"] if self_test else [])
    described = "".join(f"{key}={value}\n" for key, value in properties.items())
    return described, "\n".join(keywords) + "\n", _sketch(code, self_test), *code.files


def _title(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _version() -> str:
    return installed_versions(("prunekit",))["prunekit"].split("+")[0]


def _sketch(code: CCode, self_test: bool) -> str:
    upper = code.name.upper()
    test = f'  Serial.print("self-test, cases that differ: ");\n  Serial.println({code.name}_self_test());\n'
    if code.outputs is None:
        act = f"  int32_t action = {code.name}_action(observation);\n"
        show = "  Serial.println(action);\n"
    else:
        act = f"  float action[{upper}_OUTPUTS];\n  {code.name}_action(observation, action);\n"
        show = f"  for (int i = 0; i < {upper}_OUTPUTS; ++i) Serial.println(action[i], 6);\n"
    return (
        f"#include <{code.name}.h>\n\nfloat observation[{upper}_INPUTS];  // fill it from your sensors\n\n"
        f"void setup() {{\n  Serial.begin(115200);\n{test if self_test else ''}}}\n\n"
        f"void loop() {{\n  unsigned long start = micros();\n{act}  unsigned long took = micros() - start;\n{show}"
        '  Serial.print("microseconds: ");\n  Serial.println(took);\n  delay(1000);\n}\n'
    )
