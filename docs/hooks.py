"""What the site adds to docs/: files that its pages link to, changelog, CONTRIBUTING, the notebook's text."""

import json
import re
from pathlib import Path

from mkdocs.structure.files import File

_BESIDE = re.compile(r"\]\(\.\./([^)#\s]+)")  # a link out of docs/, whose pages all lie in one folder
_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md")
_NOTEBOOK = "notebook.ipynb"


def on_files(files, config):
    """Copy what pages link to outside of docs/ into files/; a link to a folder stays, and is a warning."""
    root = Path(config.config_file_path).parent
    for name in _PAGES:
        files.append(File.generated(config, name.lower(), abs_src_path=str(root / name)))
    linked = {path for page in files.documentation_pages() for path in _BESIDE.findall(page.content_string)}
    for path in sorted(path for path in linked if (root / path).is_file()):
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(root / path)))
    files.append(File.generated(config, "notebook.md", content=_text(Path(config.docs_dir) / _NOTEBOOK)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links out of docs/ at the copies, and those of the pages that lie above it into docs/."""
    if page.file.src_uri in map(str.lower, _PAGES):
        return markdown.replace("](docs/", "](")
    return _BESIDE.sub(r"](files/\1", markdown)


def _text(notebook):
    """The cells of a notebook as Markdown, with where to get it after its first one."""
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    parts.insert(1, f"[Download it]({_NOTEBOOK}), open it with Jupyter, and the pictures are drawn.")
    return "\n\n".join(parts) + "\n"
