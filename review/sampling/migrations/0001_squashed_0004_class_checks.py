import django.db.models.deletion
import review.sampling.models
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [('sampling', '0001_initial'), ('sampling', '0002_audit_desk'), ('sampling', '0003_frame_rows'), ('sampling', '0004_class_checks')]

    initial = True

    dependencies = [
        ('accounts', '0001_squashed_0003_sign_ins'),
        ('rollouts', '0001_squashed_0005_import_advanced_at'),
        ('runs', '0001_squashed_0004_recut'),
        ('verifiers', '0001_squashed_0003_replays_and_probes'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditRule',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='audit_rules', to='runs.run')),
                ('name', models.CharField(max_length=200)),
                ('state', models.CharField(choices=[('draft', 'Draft'), ('active', 'Active'), ('finished', 'Finished')], default='draft', max_length=10)),
                ('first_step', models.IntegerField()),
                ('window_steps', models.PositiveIntegerField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('started_at', models.DateTimeField(null=True)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('first_step__gte', 0), ('window_steps__gte', 1)), name='rule_windows_sensible'), models.CheckConstraint(condition=models.Q(('state__in', ['draft', 'active', 'finished'])), name='rule_state_known')],
            },
        ),
        migrations.CreateModel(
            name='RuleVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('rule', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='versions', to='sampling.auditrule')),
                ('number', models.PositiveIntegerField()),
                ('last_step', models.IntegerField(null=True)),
                ('budget', models.PositiveIntegerField()),
                ('budget_per', models.CharField(choices=[('window', 'per window'), ('day', 'per day')], default='window', max_length=10)),
                ('waves', models.PositiveSmallIntegerField(default=4)),
                ('focus', models.JSONField()),
                ('is_ranking', models.BooleanField(default=False)),
                ('floor', models.FloatField(default=0.15)),
                ('reviews_contradictions', models.BooleanField(default=True)),
                ('second_review_share', models.FloatField(default=0.1)),
                ('gold_share', models.FloatField(default=0.0)),
                ('shows_reference', models.BooleanField(default=True)),
                ('created_by', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('verifiers', models.ManyToManyField(related_name='+', to='verifiers.runverifier')),
                ('reviewers', models.ManyToManyField(related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['number'],
                'constraints': [models.UniqueConstraint(fields=('rule', 'number'), name='rule_version_once'), models.CheckConstraint(condition=models.Q(('budget__gte', 1), ('waves__gte', 1)), name='rule_version_sizes_positive'), models.CheckConstraint(condition=models.Q(('budget_per__in', ['window', 'day'])), name='rule_version_budget_known'), models.CheckConstraint(condition=models.Q(('floor__gte', 0), ('floor__lte', 1), ('gold_share__gte', 0), ('gold_share__lte', 0.5), ('second_review_share__gte', 0), ('second_review_share__lte', 1)), name='rule_version_shares_in_range')],
            },
        ),
        migrations.CreateModel(
            name='RuleSlice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='sampling.ruleversion')),
                ('slice', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='rollouts.slice')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('version', 'slice'), name='rule_slice_once')],
            },
        ),
        migrations.CreateModel(
            name='Window',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('rule', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='windows', to='sampling.auditrule')),
                ('number', models.PositiveIntegerField()),
                ('first_step', models.IntegerField()),
                ('last_step', models.IntegerField()),
                ('state', models.CharField(choices=[('collecting', 'Collecting'), ('open', 'Open'), ('closed', 'Closed')], default='collecting', max_length=12)),
                ('secret', models.BinaryField(default=review.sampling.models.window_secret)),
                ('frame_size', models.BigIntegerField(null=True)),
                ('targets', models.JSONField(default=dict)),
                ('is_ended_early', models.BooleanField(default=False)),
                ('closed_at', models.DateTimeField(null=True)),
            ],
            options={
                'ordering': ['first_step', 'number'],
                'constraints': [models.UniqueConstraint(fields=('rule', 'number'), name='window_number_once'), models.CheckConstraint(condition=models.Q(('last_step__gte', models.F('first_step'))), name='window_steps_in_order'), models.CheckConstraint(condition=models.Q(('state__in', ['collecting', 'open', 'closed'])), name='window_state_known')],
            },
        ),
        migrations.CreateModel(
            name='FrameRow',
            fields=[
                ('pk', models.CompositePrimaryKey('window_id', 'cell_id', 'prn', 'rollout_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('window', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='frame_rows', to='sampling.window')),
                ('cell', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='rollouts.cell')),
                ('prn', models.BigIntegerField()),
                ('rollout', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='rollouts.rollout')),
            ],
        ),
        migrations.CreateModel(
            name='FrameCell',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('window', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='frame_cells', to='sampling.window')),
                ('cell', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='rollouts.cell')),
                ('rollouts', models.BigIntegerField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('window', 'cell'), name='frame_cell_once')],
            },
        ),
        migrations.CreateModel(
            name='Wave',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('window', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='waves', to='sampling.window')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='sampling.ruleversion')),
                ('number', models.PositiveSmallIntegerField()),
                ('planned', models.PositiveIntegerField()),
                ('state', models.CharField(choices=[('open', 'Open'), ('closed', 'Closed'), ('cancelled', 'Cancelled')], default='open', max_length=10)),
                ('seed', models.BigIntegerField()),
                ('drawn_at', models.DateTimeField(auto_now_add=True)),
                ('closed_at', models.DateTimeField(null=True)),
            ],
            options={
                'ordering': ['number'],
                'constraints': [models.UniqueConstraint(fields=('window', 'number'), name='wave_number_once'), models.UniqueConstraint(condition=models.Q(('state', 'open')), fields=('window',), name='one_open_wave_per_window'), models.CheckConstraint(condition=models.Q(('state__in', ['open', 'closed', 'cancelled'])), name='wave_state_known')],
            },
        ),
        migrations.CreateModel(
            name='WaveCell',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('wave', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='cells', to='sampling.wave')),
                ('cell', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='rollouts.cell')),
                ('remaining', models.BigIntegerField()),
                ('stratum', models.PositiveSmallIntegerField(null=True)),
                ('weight', models.FloatField(null=True)),
                ('p_correct', models.FloatField()),
                ('p_hack', models.FloatField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('wave', 'cell'), name='wave_cell_once')],
            },
        ),
        migrations.CreateModel(
            name='Draw',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('window', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='draws', to='sampling.window')),
                ('wave', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='draws', to='sampling.wave')),
                ('rollout', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='draws', to='rollouts.rollout')),
                ('cell', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='rollouts.cell')),
                ('stratum', models.PositiveSmallIntegerField()),
                ('prn', models.BigIntegerField()),
                ('weight', models.FloatField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('wave', 'rollout'), name='draw_once_per_wave'), models.CheckConstraint(condition=models.Q(('weight__gte', 1)), name='draw_weight_at_least_one')],
            },
        ),
        migrations.CreateModel(
            name='Pick',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('window', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='picks', to='sampling.window')),
                ('rollout', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='picks', to='rollouts.rollout')),
                ('cell', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='rollouts.cell')),
                ('cause', models.CharField(choices=[('lead', "a lead's choice"), ('appeal', 'Appeal'), ('reward', 'worth most to the reward'), ('class', 'second look at a settled answer'), ('cancelled', 'from a cancelled wave')], max_length=10)),
                ('known_from', models.PositiveSmallIntegerField()),
                ('picked_by', models.CharField(max_length=200)),
                ('note', models.TextField(blank=True, default='')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('window', 'rollout'), name='pick_once_per_window'), models.CheckConstraint(condition=models.Q(('cause__in', ['lead', 'appeal', 'reward', 'class', 'cancelled'])), name='pick_cause_known')],
            },
        ),
        migrations.AddField(
            model_name='ruleversion',
            name='slices',
            field=models.ManyToManyField(related_name='rule_versions', through='sampling.RuleSlice', to='rollouts.slice'),
        ),
    ]
