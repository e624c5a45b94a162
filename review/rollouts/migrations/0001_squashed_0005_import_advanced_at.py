import django.db.models.deletion
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [('rollouts', '0001_initial'), ('rollouts', '0002_slices'), ('rollouts', '0003_imports'), ('rollouts', '0004_steps_of_all_messages'), ('rollouts', '0005_import_advanced_at')]

    initial = True

    dependencies = [
        ('accounts', '0001_squashed_0003_sign_ins'),
        ('runs', '0001_squashed_0004_recut'),
    ]

    operations = [
        migrations.CreateModel(
            name='Cell',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='cells', to='runs.run')),
                ('key', models.CharField(max_length=400)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('run', 'key'), name='cell_once_per_run')],
            },
        ),
        migrations.CreateModel(
            name='Group',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='groups', to='runs.run')),
                ('uid', models.CharField(max_length=200)),
                ('prompt', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='groups', to='runs.prompt')),
                ('step', models.IntegerField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('run', 'uid'), name='group_uid_once_per_run'), models.CheckConstraint(condition=models.Q(('step__gte', 0)), name='group_step_not_negative')],
            },
        ),
        migrations.CreateModel(
            name='Rollout',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rollouts', to='runs.run')),
                ('step', models.IntegerField()),
                ('uid', models.CharField(max_length=200)),
                ('group', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rollouts', to='rollouts.group')),
                ('policy', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='rollouts', to='runs.policy')),
                ('cell', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='rollouts', to='rollouts.cell')),
                ('answer_class', models.TextField(null=True)),
                ('messages', models.JSONField()),
                ('steps', models.JSONField()),
                ('tokens', models.PositiveIntegerField(null=True)),
                ('length_bin', models.PositiveSmallIntegerField()),
                ('is_truncated', models.BooleanField(default=False)),
                ('is_probe_hit', models.BooleanField(default=False)),
                ('reward', models.FloatField(null=True)),
                ('table_version', models.PositiveIntegerField(null=True)),
                ('received_at', models.DateTimeField(auto_now_add=True)),
                ('purged_at', models.DateTimeField(null=True)),
            ],
            options={
                'indexes': [models.Index(fields=['run', 'step'], name='rollout_by_run_and_step')],
                'constraints': [models.UniqueConstraint(fields=('run', 'uid'), name='rollout_uid_once_per_run')],
            },
        ),
        migrations.CreateModel(
            name='CellCount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='cell_counts', to='runs.run')),
                ('block', models.IntegerField()),
                ('cell', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='counts', to='rollouts.cell')),
                ('policy', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='counts', to='runs.policy')),
                ('source', models.CharField(max_length=120)),
                ('length_bin', models.PositiveSmallIntegerField()),
                ('difficulty', models.PositiveSmallIntegerField(null=True)),
                ('rollouts', models.BigIntegerField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('run', 'block', 'cell', 'policy', 'source', 'length_bin', 'difficulty'), name='cell_count_once', nulls_distinct=False)],
            },
        ),
        migrations.CreateModel(
            name='StepSummary',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='step_summaries', to='runs.run')),
                ('step', models.IntegerField()),
                ('rollouts', models.BigIntegerField()),
                ('accepted', models.BigIntegerField()),
                ('abstained', models.BigIntegerField()),
                ('table_version', models.PositiveIntegerField(null=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('run', 'step'), name='step_summary_once')],
            },
        ),
        migrations.CreateModel(
            name='Slice',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='slices', to='accounts.project')),
                ('name', models.CharField(max_length=100)),
                ('conditions', models.JSONField()),
                ('created_by', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('project', 'name'), name='slice_name_once_per_project')],
            },
        ),
        migrations.CreateModel(
            name='Import',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='imports', to='accounts.project')),
                ('run', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='imports', to='runs.run')),
                ('format', models.CharField(choices=[('trl', 'TRL completions (Parquet)'), ('verl', 'verl rollouts (JSONL)'), ('inspect', 'Inspect log (.eval)'), ('lm_eval', 'lm-eval samples (JSONL)'), ('jsonl', 'JSON lines, by a mapping'), ('parquet', 'Parquet, by a mapping')], max_length=20)),
                ('file_name', models.CharField(max_length=200)),
                ('bytes', models.BigIntegerField()),
                ('mapping', models.JSONField(default=dict)),
                ('state', models.CharField(choices=[('uploaded', 'Uploaded'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='uploaded', max_length=10)),
                ('rows_read', models.BigIntegerField(default=0)),
                ('rows_stored', models.BigIntegerField(default=0)),
                ('rows_refused', models.BigIntegerField(default=0)),
                ('bytes_read', models.BigIntegerField(default=0)),
                ('advanced_at', models.DateTimeField(null=True)),
                ('problem', models.TextField(blank=True, default='')),
                ('created_by', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('finished_at', models.DateTimeField(null=True)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('state__in', ['uploaded', 'running', 'done', 'failed', 'cancelled'])), name='import_state_known'), models.CheckConstraint(condition=models.Q(('format__in', ['trl', 'verl', 'inspect', 'lm_eval', 'jsonl', 'parquet'])), name='import_format_known')],
            },
        ),
        migrations.CreateModel(
            name='RefusedRow',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('of', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='refused', to='rollouts.import')),
                ('line', models.BigIntegerField()),
                ('reason', models.TextField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('of', 'line'), name='refused_row_once')],
            },
        ),
    ]
