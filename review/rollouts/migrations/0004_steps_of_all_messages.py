"""A step names its message: [start, end] of the last one becomes [message, start, end]."""

from django.db import migrations

FORWARD = """
UPDATE rollouts_rollout SET steps = (
    SELECT coalesce(
        jsonb_agg(
            jsonb_build_array(jsonb_array_length(messages) - 1, step -> 0, step -> 1)
            ORDER BY number
        ),
        '[]'
    )
    FROM jsonb_array_elements(steps) WITH ORDINALITY AS numbered (step, number)
)
"""
# What lies in an earlier message cannot be said in the old form.
BACKWARD = """
UPDATE rollouts_rollout SET steps = (
    SELECT coalesce(jsonb_agg(jsonb_build_array(step -> 1, step -> 2) ORDER BY number), '[]')
    FROM jsonb_array_elements(steps) WITH ORDINALITY AS numbered (step, number)
    WHERE (step -> 0)::int = jsonb_array_length(messages) - 1
)
"""


class Migration(migrations.Migration):
    dependencies = [("rollouts", "0003_imports")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
