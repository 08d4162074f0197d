"""Hooks of mkdocs: pages of the repository's root are pages of the site, and links work in both places.

A link to what the site does not have (code, models, results) becomes its text.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from posixpath import join, normpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    **{f"{name}.md": f"{name}.md" for name in (
        "ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "RELEASING", "SECURITY", "CODE_OF_CONDUCT"
    )},
}  # fmt: skip
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")


def on_config(config: Any) -> Any:
    """Put all decisions into the navigation."""
    decisions = [f"decisions/{path.name}" for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    for section in config.nav:
        for pages in section.values() if isinstance(section, dict) else ():
            for page in pages if isinstance(pages, list) else ():
                if isinstance(page, dict) and "Decisions" in page:
                    page["Decisions"] = decisions
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the repository's root."""
    for source, target in PAGES.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Rewrite links between files of the repository as links between pages of the site.

    A block that begins with a prompt becomes a session of a shell, whose commands alone are copied.
    """
    target = page.file.src_uri
    source = next((name for name, place in PAGES.items() if place == target), join("docs", target))

    def rewritten(found: re.Match[str]) -> str:
        picture, text, address = found.groups()
        path, mark, anchor = address.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return found[0]
        named = normpath(join(source, "..", path))
        if not (ROOT / named).exists():
            raise ValueError(f"{source}: links to {named}, which is not there")
        place = PAGES.get(named, named.removeprefix("docs/"))
        if named == "docs/decisions":
            place = "decisions/0001-masks-are-zeros.md"
        if files.get_file_from_path(place) is None:
            return text
        up = "../" * target.count("/")
        return f"{picture}[{text}]({up}{place}{mark}{anchor})"

    markdown = re.sub(r"^```\n(?=\$ )", "```console\n", markdown, flags=re.MULTILINE)
    fenced = re.split(r"(^```.*?^```|`[^`\n]+`)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if index % 2 else _LINK.sub(rewritten, part) for index, part in enumerate(fenced))


def on_page_content(html: str, **_: Any) -> str:
    """Write the two colons that begin code in a docstring as one."""
    return html.replace("::</p>", ":</p>")


def on_post_build(config: Any) -> None:
    """Raise ValueError where a public name is not in the reference."""
    tree = ast.parse((ROOT / "prunekit" / "__init__.py").read_text())
    names = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    )
    page = (Path(config["site_dir"]) / "api" / "index.html").read_text()
    absent = [name for name in names if not name.startswith("_") and f'id="prunekit.{name}"' not in page]
    if absent:
        raise ValueError(f"docs/api.md lacks {', '.join(absent)}")
