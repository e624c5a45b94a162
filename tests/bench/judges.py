"""The probe suite against judges that play a part by a stated rule: what stands in front of one.

No model is asked: the figures are of the wall (what is refused unasked, the fences, what is read
of an answer), not of any judge's judgement.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.trainer import tiny_models
from tests.trainer.judge_endpoint import RIGHT, serving
from tests.trainer.verifiers.probes.judges import JUDGES
from trainer.verifiers import build
from trainer.verifiers.probes import SuiteResult, run_suite
from trainer.verifiers.probes.rates import Rate


def over_http(role: str) -> SuiteResult:
    with serving(JUDGES[role]) as endpoint:
        return run_suite(build("judge", base_url=endpoint.url, model="role", concurrency=16))


def local(name: str, folder: Path) -> SuiteResult:
    return run_suite(build("judge-local", model=str(folder / name), max_new_tokens=8), per_attack=1)


def results() -> dict[str, SuiteResult]:
    with TemporaryDirectory() as folder:
        models = Path(folder)
        tiny_models.saying_judge(models / "accepts", [RIGHT[:12], RIGHT[12:]])
        tiny_models.random_judge(models / "random")
        return {role: over_http(role) for role in JUDGES} | {
            "local, accepts all": local("accepts", models),
            "local, random": local("random", models),
        }


def main() -> int:
    found = results()
    families = sorted({family for result in found.values() for family in result.families()})
    rows = [
        (family, *(_share(result.families()[family].rate) for result in found.values()))
        for family in families
    ]
    rows.append(("all attacks", *(_share(result.overall.rate) for result in found.values())))
    rows.append(
        ("undecided", *(f"{r.overall.undecided} of {r.overall.tries}" for r in found.values()))
    )
    rows.append(
        ("honest passed", *(f"{r.honest.passed} of {r.honest.tries}" for r in found.values()))
    )
    for row in (("family", *found), ["---"] * (len(found) + 1), *rows):
        sys.stdout.write(f"| {' | '.join(row)} |\n")
    return 0


def _share(rate: Rate | None) -> str:
    return "" if rate is None else f"{rate.point:.2f}"


if __name__ == "__main__":
    sys.exit(main())
