"""How fast labels go out as JSON lines, against a bare COPY of the same rows by the same join.

`python -m tests.bench.labels_out --labels 200000`. The last line holds the figures.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial

from django.db import connection

from review.accounts.models import Role
from review.flows.exports import write_labels
from review.labeling.models import Label
from review.runs.models import Run
from tests import builders
from tests.bench.database import bench_database
from tests.labeling import items

ROUNDS = 3
# About what a worked solution takes: eight steps, 1.2 KB.
STEPS = [
    f"Step {number}: we put \\(x_{number} = {number}^2 + 1\\) into the equation and find that both "
    'sides agree as long as the remainder is "small" enough.'
    for number in range(1, 9)
]


def fill(run: Run, labels: int) -> None:
    """So many labelled rollouts more, each drawn, judged and labelled once."""
    spans, start = [], 0
    for step in STEPS:
        spans.append([0, start, start + len(step)])
        start += len(step) + 2
    with connection.cursor() as cursor:
        for statement in FILL:
            cursor.execute(
                statement,
                {
                    "run": run.pk,
                    "n": labels,
                    "text": "\n\n".join(STEPS),
                    "steps": json.dumps(spans),
                },
            )
        cursor.execute("ANALYZE")


FILL = (
    """
    INSERT INTO rollouts_group (run_id, uid, prompt_id, step)
    SELECT %(run)s, 'bench-' || n, (SELECT min(id) FROM runs_prompt WHERE run_id = %(run)s), 1
    FROM generate_series(1, %(n)s / 4) AS n
    """,
    """
    INSERT INTO rollouts_rollout (run_id, step, uid, group_id, policy_id, cell_id, answer_class,
        messages, steps, tokens, length_bin, is_truncated, is_probe_hit, reward, received_at)
    SELECT %(run)s, 1, 'bench-' || completions.id || '-' || k, completions.id,
        (SELECT min(id) FROM runs_policy WHERE run_id = %(run)s),
        (SELECT min(id) FROM rollouts_cell WHERE run_id = %(run)s), k::text,
        jsonb_build_array(
            jsonb_build_object('role', 'assistant', 'content', %(text)s || completions.id)),
        %(steps)s::jsonb, 300, 2, false, false, 1, now()
    FROM rollouts_group AS completions CROSS JOIN generate_series(1, 4) AS k
    WHERE completions.run_id = %(run)s AND completions.uid LIKE 'bench-%%'
    """,
    """
    INSERT INTO verifiers_verdict (rollout_id, verifier_id, outcome, score, extracted, path, form,
        candidates, seconds, detail)
    SELECT rollout.id, (SELECT verifier_id FROM verifiers_runverifier WHERE run_id = %(run)s),
        'pass', 1, '15', 'boxed', 'integer', 1, 0.01, ''
    FROM rollouts_rollout AS rollout WHERE run_id = %(run)s AND uid LIKE 'bench-%%'
    """,
    """
    INSERT INTO sampling_draw (window_id, wave_id, rollout_id, cell_id, stratum, prn, weight)
    SELECT wave.window_id, wave.id, rollout.id, rollout.cell_id, 0, rollout.id, 2
    FROM rollouts_rollout AS rollout CROSS JOIN (SELECT * FROM sampling_wave LIMIT 1) AS wave
    WHERE rollout.run_id = %(run)s AND rollout.uid LIKE 'bench-%%'
    """,
    """
    INSERT INTO labeling_assignment (id, queue_id, rollout_id, cause, wave_id, draw_id, slot, rank,
        state)
    SELECT gen_random_uuid(), queue.id, draw.rollout_id, 'draw', draw.wave_id, draw.id, 1,
        1000 + draw.id, 'done'
    FROM sampling_draw AS draw CROSS JOIN (SELECT id FROM labeling_queue LIMIT 1) AS queue
    WHERE draw.weight = 2 AND draw.prn = draw.rollout_id
    """,
    """
    INSERT INTO labeling_label (assignment_id, reviewer_id, client_key, answer, step_id,
        earliest_wrong_step, has_no_wrong_step, error_category, is_hack, hack_kind, problem_fault,
        criteria, note, is_late, active_ms, created_at)
    SELECT item.id, (SELECT max(id) FROM accounts_user), gen_random_uuid(), 'incorrect', '0.0.abc',
        1, false, 'logic', false, '', '', '{}', 'see step 1', false, 4000, now()
    FROM labeling_assignment AS item WHERE item.rank >= 1000 AND item.state = 'done'
    """,
)

COPY = """
COPY (
    SELECT label.*, item.slot, item.cause, rollout.uid, rollout.messages, rollout.steps,
        rollout.step, rollout.tokens, rollout.answer_class, rollout.reward, completions.uid,
        prompt.uid, prompt.text, prompt.references, prompt.domain, prompt.source, prompt.licence,
        prompt.split, policy.uid, cell.key, verdict.outcome, verdict.score, verdict.extracted,
        verdict.path, verdict.form, verifier.name, verifier.version, verifier.channel,
        draw.stratum, draw.weight, wave.number, wave.planned, span.first_step, span.last_step
    FROM labeling_label AS label
    JOIN labeling_assignment AS item ON item.id = label.assignment_id
    JOIN rollouts_rollout AS rollout ON rollout.id = item.rollout_id
    JOIN rollouts_group AS completions ON completions.id = rollout.group_id
    JOIN runs_prompt AS prompt ON prompt.id = completions.prompt_id
    JOIN runs_policy AS policy ON policy.id = rollout.policy_id
    JOIN rollouts_cell AS cell ON cell.id = rollout.cell_id
    JOIN verifiers_verdict AS verdict ON verdict.rollout_id = rollout.id
    JOIN verifiers_verifierversion AS verifier ON verifier.id = verdict.verifier_id
    JOIN sampling_draw AS draw ON draw.id = item.draw_id
    JOIN sampling_wave AS wave ON wave.id = draw.wave_id
    JOIN sampling_window AS span ON span.id = wave.window_id
    LEFT JOIN labeling_retraction AS retraction ON retraction.label_id = label.id
    LEFT JOIN labeling_golditem AS gold ON gold.rollout_id = rollout.id
    WHERE completions.run_id = %s AND retraction.id IS NULL
    ORDER BY completions.id, rollout.id
) TO STDOUT
"""


def copy_out(run: Run) -> None:
    with (
        open(os.devnull, "wb") as out,
        connection.cursor() as cursor,
        cursor.copy(COPY, [run.pk]) as copy,
    ):
        for piece in copy:
            out.write(piece)


def export(run: Run, name: str) -> None:
    with open(os.devnull, "wb") as out:
        write_labels(run, name, out)


def fastest(run: Run, formats: Sequence[str]) -> dict[str, float]:
    """Of three rounds in turns, so that a busy machine is busy for all of them."""
    works: dict[str, Callable[[], None]] = {"COPY": lambda: copy_out(run)}
    works |= {name: partial(export, run, name) for name in formats}
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(ROUNDS)]
    return {name: min(times[name] for times in rounds) for name in works}


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=200_000)
    parser.add_argument("--formats", nargs="+", default=["jsonl", "processbench", "parquet"])
    arguments = parser.parse_args()
    with bench_database():
        project = builders.make_project("Labels out")
        builders.make_user(project, Role.REVIEWER)
        run = items.open_queue(project).rule.run
        fill(run, arguments.labels)
        labels = Label.objects.count()
        times = fastest(run, arguments.formats)
        for name, taken in times.items():
            print(f"{name}: {labels / taken:,.0f} labels a second")
        shares = {name: round(times["COPY"] / times[name], 3) for name in arguments.formats}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"labels": labels, "share_of_copy": shares, "peak_mib": peak}))


if __name__ == "__main__":
    main()
