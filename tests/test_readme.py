"""What the README says is so."""

import re
from types import SimpleNamespace

from tests import ROOT
from trainer.rewards import GroupRollout
from trainer.verifiers import Item, build

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_package_is_in_the_readmes_tree() -> None:
    tree = README.partition("## The tree")[2].partition("## ")[0]
    for package in ("review", "trainer"):
        for folder in (ROOT / package).iterdir():
            if (folder / "__init__.py").exists():
                assert f"{folder.name}/" in tree, folder


def test_the_commands_that_the_readme_names_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = set(re.findall(r"make ([a-z-]+)", README))
    assert {"demo", "test", "loop", "check"} <= named <= set(targets)


def test_the_files_that_the_readme_links_exist() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path


def test_the_trainer_of_ones_own_in_the_readme_works() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  (our own README)
    verifier = build("boxed-any")
    texts = [r"\boxed{15}", r"\boxed{15.0}"]
    verdicts = verifier.verify([Item("7 + 8", text, ("15",)) for text in texts])
    group = [GroupRollout((verdict,), truncated=False, probe=False) for verdict in verdicts]
    link = SimpleNamespace(latest_table=lambda: None)
    assert names["rewards"](link, "p1", group) == [1.0, 0.0]  # type: ignore[operator]
