"""What the hooks' README tells people to copy is there."""

import ast
import importlib
import re

from tests import ROOT
from trainer.integrations.scoring import Settings

README = (ROOT / "trainer" / "integrations" / "README.md").read_text(encoding="utf-8")


def test_the_names_that_the_readme_imports_exist() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    imported = [
        (node.module, name.name)
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("trainer.")
        for name in node.names
    ]
    assert len(imported) >= 5
    for module, name in imported:
        assert callable(getattr(importlib.import_module(module), name))


def test_the_functions_that_the_readme_names_exist() -> None:
    paths = re.findall(r"trainer\.integrations\.(\w+)[.:](\w+)$", README, flags=re.MULTILINE)
    assert {name for _, name in paths} >= {"custom_rm", "post_process_rewards"}
    for module, name in paths:
        assert callable(getattr(importlib.import_module(f"trainer.integrations.{module}"), name))


def test_every_variable_is_in_the_readme() -> None:
    for name in Settings.__dataclass_fields__:
        assert f"`ASSAY_{name.upper()}`" in README
