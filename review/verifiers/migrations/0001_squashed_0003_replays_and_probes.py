import django.db.models.deletion
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [('verifiers', '0001_initial'), ('verifiers', '0002_verdict_counts'), ('verifiers', '0003_replays_and_probes')]

    initial = True

    dependencies = [
        ('accounts', '0001_squashed_0003_sign_ins'),
        ('rollouts', '0001_squashed_0005_import_advanced_at'),
        ('runs', '0001_squashed_0004_recut'),
    ]

    operations = [
        migrations.CreateModel(
            name='VerifierVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='verifiers', to='accounts.project')),
                ('name', models.CharField(max_length=80)),
                ('version', models.CharField(max_length=40)),
                ('channel', models.CharField(choices=[('correctness', 'Correctness'), ('format', 'Format'), ('process', 'Process'), ('probe', 'Probe'), ('monitor', 'Monitor')], max_length=20)),
                ('params', models.JSONField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('project', 'name', 'version'), name='verifier_version_once'), models.CheckConstraint(condition=models.Q(('channel__in', ['correctness', 'format', 'process', 'probe', 'monitor'])), name='verifier_channel_known')],
            },
        ),
        migrations.CreateModel(
            name='RunVerifier',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='run_verifiers', to='runs.run')),
                ('verifier', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='in_runs', to='verifiers.verifierversion')),
                ('position', models.PositiveIntegerField()),
                ('weight', models.FloatField(default=1.0)),
            ],
            options={
                'ordering': ['position'],
                'constraints': [models.UniqueConstraint(fields=('run', 'verifier'), name='run_verifier_once'), models.UniqueConstraint(fields=('run', 'position'), name='run_verifier_position_once')],
            },
        ),
        migrations.CreateModel(
            name='Verdict',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('rollout', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='verdicts', to='rollouts.rollout')),
                ('verifier', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='verdicts', to='verifiers.verifierversion')),
                ('outcome', models.CharField(choices=[('pass', 'Pass'), ('fail', 'Fail'), ('undecided', 'Undecided')], max_length=10)),
                ('score', models.FloatField(null=True)),
                ('extracted', models.TextField(null=True)),
                ('path', models.CharField(max_length=24)),
                ('form', models.CharField(max_length=24)),
                ('candidates', models.PositiveIntegerField()),
                ('seconds', models.FloatField()),
                ('detail', models.TextField(blank=True, default='')),
                ('record', models.JSONField(null=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('rollout', 'verifier'), name='verdict_once'), models.CheckConstraint(condition=models.Q(('outcome__in', ['pass', 'fail', 'undecided'])), name='verdict_outcome_known'), models.CheckConstraint(condition=models.Q(('score', None), models.Q(('score__gte', 0), ('score__lte', 1)), _connector='OR'), name='verdict_score_in_unit_interval')],
            },
        ),
        migrations.CreateModel(
            name='VerdictCount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('cell_count', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='verdict_counts', to='rollouts.cellcount')),
                ('verifier', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='verdict_counts', to='verifiers.verifierversion')),
                ('outcome', models.CharField(choices=[('pass', 'Pass'), ('fail', 'Fail'), ('undecided', 'Undecided')], max_length=10)),
                ('rollouts', models.BigIntegerField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('cell_count', 'verifier', 'outcome'), name='verdict_count_once'), models.CheckConstraint(condition=models.Q(('outcome__in', ['pass', 'fail', 'undecided'])), name='verdict_count_outcome_known')],
            },
        ),
        migrations.CreateModel(
            name='Replay',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='replays', to='runs.run')),
                ('verifier', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='replays', to='verifiers.verifierversion')),
                ('state', models.CharField(choices=[('measuring', 'Measuring'), ('waiting', 'Waiting'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('cancelled', 'Cancelled')], default='measuring', max_length=10)),
                ('rollouts', models.BigIntegerField(null=True)),
                ('seconds', models.FloatField(null=True)),
                ('calls', models.BigIntegerField(null=True)),
                ('tokens', models.BigIntegerField(null=True)),
                ('until', models.BigIntegerField(null=True)),
                ('after', models.BigIntegerField(default=0)),
                ('judged', models.BigIntegerField(default=0)),
                ('undecided', models.BigIntegerField(default=0)),
                ('purged', models.BigIntegerField(default=0)),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('advanced_at', models.DateTimeField(auto_now_add=True)),
                ('problem', models.TextField(blank=True, default='')),
                ('created_by', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('finished_at', models.DateTimeField(null=True)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('state__in', ['measuring', 'waiting', 'running', 'done', 'failed', 'cancelled'])), name='replay_state_known'), models.UniqueConstraint(condition=models.Q(('state__in', ('measuring', 'waiting', 'running'))), fields=('run', 'verifier'), name='replay_once_at_a_time')],
            },
        ),
        migrations.CreateModel(
            name='ProbeRun',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('verifier', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='probe_runs', to='verifiers.verifierversion')),
                ('state', models.CharField(choices=[('running', 'Running'), ('done', 'Done'), ('failed', 'Failed')], default='running', max_length=10)),
                ('result', models.JSONField(null=True)),
                ('attempts', models.PositiveSmallIntegerField(default=0)),
                ('problem', models.TextField(blank=True, default='')),
                ('created_by', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('finished_at', models.DateTimeField(null=True)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('state__in', ['running', 'done', 'failed'])), name='probe_state_known'), models.CheckConstraint(condition=models.Q(('state', 'done'), ('result__isnull', True), _connector='XOR'), name='probe_result_when_done'), models.UniqueConstraint(condition=models.Q(('state', 'running')), fields=('verifier',), name='probe_once_at_a_time')],
            },
        ),
        migrations.CreateModel(
            name='PromotedAttack',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='attacks', to='accounts.project')),
                ('rollout', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='attack', to='rollouts.rollout')),
                ('kind', models.CharField(max_length=24)),
                ('family', models.CharField(max_length=24)),
                ('note', models.TextField()),
                ('created_by', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
    ]
