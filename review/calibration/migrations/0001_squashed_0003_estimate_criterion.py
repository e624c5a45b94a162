import django.db.models.deletion
import django.db.models.functions.datetime
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [('calibration', '0001_initial'), ('calibration', '0002_audit_desk'), ('calibration', '0003_estimate_criterion')]

    initial = True

    dependencies = [
        ('rollouts', '0001_squashed_0005_import_advanced_at'),
        ('runs', '0001_squashed_0004_recut'),
        ('sampling', '0001_squashed_0004_class_checks'),
        ('verifiers', '0001_squashed_0003_replays_and_probes'),
    ]

    operations = [
        migrations.CreateModel(
            name='Estimate',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='estimates', to='runs.run')),
                ('window', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='estimates', to='sampling.window')),
                ('verifier', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='estimates', to='verifiers.verifierversion')),
                ('slice', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='estimates', to='rollouts.slice')),
                ('policy', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='runs.policy')),
                ('criterion', models.CharField(blank=True, default='', max_length=300)),
                ('answers', models.CharField(choices=[('final', 'final answers'), ('dawid_skene', 'Dawid-Skene')], default='final', max_length=12)),
                ('estimand', models.CharField(choices=[('recall', 'Recall'), ('fpr', 'false-positive rate'), ('precision', 'Precision'), ('rejected_correct', 'right among the rejected'), ('accuracy', 'true accuracy'), ('hack_rate', 'hack rate'), ('wrong_process', 'right answer, wrong process'), ('error_found', 'earliest error found'), ('faultless_passed', 'faultless passed'), ('process_f1', 'earliest-error F1'), ('criterion_recall', 'recall on a criterion'), ('criterion_fpr', 'false-positive rate on a criterion'), ('criterion_undecided', 'undecided on a criterion')], max_length=20)),
                ('point', models.FloatField(null=True)),
                ('low', models.FloatField()),
                ('high', models.FloatField()),
                ('level', models.FloatField()),
                ('monitor_low', models.FloatField(null=True)),
                ('monitor_high', models.FloatField(null=True)),
                ('worst_low', models.FloatField(null=True)),
                ('worst_high', models.FloatField(null=True)),
                ('unanswered_share', models.FloatField(default=0.0)),
                ('left_out', models.PositiveBigIntegerField(default=0)),
                ('se', models.FloatField(null=True)),
                ('method', models.CharField(max_length=60)),
                ('labels', models.PositiveIntegerField()),
                ('effective_labels', models.FloatField(null=True)),
                ('reason', models.CharField(blank=True, default='', max_length=200)),
                ('label_set', models.CharField(max_length=64)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'indexes': [models.Index(fields=['run', 'window', 'verifier', 'slice', 'policy', 'estimand', '-id'], name='estimate_newest')],
                'constraints': [models.CheckConstraint(condition=models.Q(('high__lte', 1), ('low__gte', 0), ('low__lte', models.F('high'))), name='estimate_interval_in_order'), models.CheckConstraint(condition=models.Q(('point__isnull', False), models.Q(('reason', ''), _negated=True), _connector='OR'), name='estimate_or_reason'), models.CheckConstraint(condition=models.Q(models.Q(('criterion__gt', ''), ('estimand__startswith', 'criterion_')), models.Q(models.Q(('estimand__startswith', 'criterion_'), _negated=True), ('criterion', '')), _connector='OR'), name='estimate_of_a_criterion')],
            },
        ),
        migrations.CreateModel(
            name='RefreshRequest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='refresh_request', to='runs.run')),
                ('requested_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name='Signal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='signals', to='runs.run')),
                ('state', models.CharField(choices=[('ok', 'Ok'), ('watch', 'Watch'), ('hold', 'Hold')], max_length=10)),
                ('reasons', models.JSONField()),
                ('label_set', models.CharField(max_length=64)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'indexes': [models.Index(fields=['run', '-id'], name='signal_newest')],
                'constraints': [models.CheckConstraint(condition=models.Q(('state__in', ['ok', 'watch', 'hold'])), name='signal_state_known')],
            },
        ),
        migrations.CreateModel(
            name='RewardTable',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='reward_tables', to='runs.run')),
                ('version', models.PositiveIntegerField()),
                ('rule', models.CharField(choices=[('demote_or_abstain', 'demote or abstain'), ('posterior', 'Posterior'), ('unbiased', 'Unbiased')], max_length=20)),
                ('valid_from_step', models.IntegerField()),
                ('valid_to_step', models.IntegerField()),
                ('labels', models.PositiveIntegerField()),
                ('body', models.TextField()),
                ('digest', models.CharField(max_length=64)),
                ('preview', models.JSONField()),
                ('created_by', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('published_by', models.CharField(blank=True, default='', max_length=200)),
                ('published_at', models.DateTimeField(null=True)),
            ],
            options={
                'ordering': ['-version'],
                'constraints': [models.UniqueConstraint(fields=('run', 'version'), name='table_version_once'), models.CheckConstraint(condition=models.Q(('valid_to_step__gte', models.F('valid_from_step'))), name='table_steps_in_order'), models.CheckConstraint(condition=models.Q(('rule__in', ['demote_or_abstain', 'posterior', 'unbiased'])), name='table_rule_known')],
            },
        ),
    ]
