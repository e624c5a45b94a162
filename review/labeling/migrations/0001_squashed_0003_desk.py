import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
import review.labeling.models.queues
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [('labeling', '0001_initial'), ('labeling', '0002_audit_desk'), ('labeling', '0003_desk')]

    initial = True

    dependencies = [
        ('accounts', '0001_squashed_0003_sign_ins'),
        ('rollouts', '0001_squashed_0005_import_advanced_at'),
        ('runs', '0001_squashed_0004_recut'),
        ('sampling', '0001_squashed_0004_class_checks'),
    ]

    operations = [
        migrations.CreateModel(
            name='Queue',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='queues', to='accounts.project')),
                ('rule', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='queue', to='sampling.auditrule')),
                ('name', models.CharField(max_length=200)),
                ('lease_seconds', models.PositiveIntegerField(default=900)),
                ('questions', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('step', 'earliest wrong step'), ('category', 'kind of that error'), ('format', 'format kept or broken'), ('hack', 'reward hack'), ('reasoning', 'reasoning supports the answer'), ('problem', 'problem broken'), ('confidence', 'confidence')], max_length=20), default=review.labeling.models.queues.default_questions, size=None)),
                ('rubric', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=300), default=list, size=None)),
                ('instructions', models.TextField(blank=True, default='')),
                ('reveals', models.BooleanField(default=True)),
                ('domains', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=60), default=list, size=None)),
                ('practice_size', models.PositiveSmallIntegerField(default=0)),
                ('pass_mark', models.FloatField(default=0.8)),
                ('gold_mark', models.FloatField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('questions__contained_by', ['step', 'category', 'format', 'hack', 'reasoning', 'problem', 'confidence'])), name='queue_questions_known'), models.CheckConstraint(condition=models.Q(('pass_mark__gt', 0), ('pass_mark__lte', 1)), name='queue_pass_mark_is_a_share'), models.CheckConstraint(condition=models.Q(('gold_mark', None), models.Q(('gold_mark__gt', 0), ('gold_mark__lt', 1)), _connector='OR'), name='queue_gold_mark_is_a_share')],
            },
        ),
        migrations.CreateModel(
            name='Assignment',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('queue', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='assignments', to='labeling.queue')),
                ('rollout', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='assignments', to='rollouts.rollout')),
                ('cause', models.CharField(choices=[('draw', 'drawn'), ('pick', 'picked on purpose'), ('random', 'random second review'), ('contradiction', 'second review of a contradiction'), ('tie_break', 'third review of a disagreement'), ('requeue', 'asked again by a lead'), ('gold', 'known answer')], default='draw', max_length=15)),
                ('wave', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='assignments', to='sampling.wave')),
                ('draw', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='assignments', to='sampling.draw')),
                ('slot', models.PositiveSmallIntegerField(default=1)),
                ('rank', models.BigIntegerField()),
                ('state', models.CharField(choices=[('open', 'Open'), ('leased', 'Leased'), ('done', 'Done'), ('skipped', 'Skipped'), ('withdrawn', 'Withdrawn'), ('settled', 'Settled')], default='open', max_length=10)),
                ('reviewer', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='assignments', to=settings.AUTH_USER_MODEL)),
                ('lease_token', models.UUIDField(null=True)),
                ('lease_expires_at', models.DateTimeField(null=True)),
            ],
            options={
                'indexes': [models.Index(condition=models.Q(('state__in', ['open', 'leased'])), fields=['queue', 'rank'], name='assignment_pending_by_rank'), models.Index(condition=models.Q(('state__in', ['open', 'leased'])), fields=['wave'], name='assignment_pending_by_wave')],
                'constraints': [models.UniqueConstraint(condition=models.Q(models.Q(('cause', 'gold'), _negated=True), models.Q(('state', 'withdrawn'), _negated=True)), fields=('queue', 'rollout', 'slot'), name='assignment_slot_once'), models.UniqueConstraint(condition=models.Q(('cause', 'gold')), fields=('wave', 'rollout'), name='gold_once_per_wave'), models.UniqueConstraint(fields=('queue', 'rank'), name='assignment_rank_once'), models.UniqueConstraint(condition=models.Q(('state', 'leased')), fields=('queue', 'reviewer'), name='one_lease_per_reviewer_and_queue'), models.CheckConstraint(condition=models.Q(('state__in', ['open', 'leased', 'done', 'skipped', 'withdrawn', 'settled'])), name='assignment_state_known'), models.CheckConstraint(condition=models.Q(('cause__in', ['draw', 'pick', 'random', 'contradiction', 'tie_break', 'requeue', 'gold'])), name='assignment_cause_known'), models.CheckConstraint(condition=models.Q(models.Q(('state', 'leased'), _negated=True), models.Q(('lease_expires_at__isnull', False), ('lease_token__isnull', False), ('reviewer__isnull', False)), _connector='OR'), name='lease_is_complete')],
            },
        ),
        migrations.CreateModel(
            name='Lease',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('assignment', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='leases', to='labeling.assignment')),
                ('reviewer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='leases', to=settings.AUTH_USER_MODEL)),
                ('token', models.UUIDField(unique=True)),
                ('taken_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name='Watermark',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('queue', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='watermarks', to='labeling.queue')),
                ('reviewer', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='watermarks', to=settings.AUTH_USER_MODEL)),
                ('rank', models.BigIntegerField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('queue', 'reviewer'), name='watermark_once')],
            },
        ),
        migrations.CreateModel(
            name='Draft',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('assignment', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='drafts', to='labeling.assignment')),
                ('reviewer', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='drafts', to=settings.AUTH_USER_MODEL)),
                ('body', models.JSONField()),
                ('saved_at', models.DateTimeField(auto_now=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('assignment', 'reviewer'), name='draft_once')],
            },
        ),
        migrations.CreateModel(
            name='Skip',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('assignment', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='skips', to='labeling.assignment')),
                ('reviewer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='skips', to=settings.AUTH_USER_MODEL)),
                ('reason', models.CharField(choices=[('unclear', 'I cannot make sense of it'), ('not_my_field', 'Not my field'), ('broken', 'The page does not show it properly'), ('other', 'Something else')], max_length=20)),
                ('note', models.TextField(blank=True, default='')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('assignment', 'reviewer'), name='skip_once'), models.CheckConstraint(condition=models.Q(('reason__in', ['unclear', 'not_my_field', 'broken', 'other'])), name='skip_reason_known')],
            },
        ),
        migrations.CreateModel(
            name='Label',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('answer', models.CharField(choices=[('correct', 'Correct'), ('incorrect', 'Incorrect'), ('cannot_tell', 'cannot tell')], max_length=12)),
                ('step_id', models.CharField(blank=True, default='', max_length=40)),
                ('earliest_wrong_step', models.PositiveIntegerField(null=True)),
                ('has_no_wrong_step', models.BooleanField(default=False)),
                ('error_category', models.CharField(blank=True, choices=[('calculation', 'Calculation'), ('logic', 'Logic'), ('misread', 'misread problem'), ('unjustified', 'unjustified claim'), ('hallucinated', 'hallucinated fact'), ('contradiction', 'Contradiction'), ('incomplete', 'Incomplete'), ('other', 'Other')], default='', max_length=20)),
                ('is_format_kept', models.BooleanField(null=True)),
                ('is_hack', models.BooleanField(null=True)),
                ('hack_kind', models.CharField(blank=True, choices=[('enumeration', 'answer enumeration'), ('several_boxes', 'several boxed answers'), ('tests', 'hard-coded or skipped tests'), ('judge_injection', 'judge injection'), ('format_gaming', 'gaming the format'), ('other', 'Other')], default='', max_length=20)),
                ('is_hack_admitted', models.BooleanField(null=True)),
                ('is_answer_supported', models.BooleanField(null=True)),
                ('problem_fault', models.CharField(blank=True, choices=[('wrong_reference', 'wrong reference'), ('ambiguous', 'Ambiguous'), ('no_answer', 'no answer'), ('several_answers', 'several answers'), ('other', 'Other')], default='', max_length=20)),
                ('confidence', models.PositiveSmallIntegerField(choices=[(1, 'unsure'), (2, 'fairly sure'), (3, 'certain')], null=True)),
                ('criteria', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('met', 'Met'), ('not_met', 'not met'), ('cannot_tell', 'cannot tell')], max_length=12), default=list, size=None)),
                ('assignment', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='labels', to='labeling.assignment')),
                ('reviewer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='labels', to=settings.AUTH_USER_MODEL)),
                ('client_key', models.UUIDField()),
                ('note', models.TextField(blank=True, default='')),
                ('is_late', models.BooleanField(default=False)),
                ('active_ms', models.PositiveIntegerField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'indexes': [models.Index(fields=['reviewer', '-id'], name='label_newest_of_reviewer')],
                'constraints': [models.CheckConstraint(condition=models.Q(('answer__in', ['correct', 'incorrect', 'cannot_tell'])), name='label_answer_known'), models.CheckConstraint(condition=models.Q(('earliest_wrong_step', None), models.Q(('earliest_wrong_step__gte', 1), ('has_no_wrong_step', False)), _connector='OR'), name='label_wrong_step_consistent'), models.CheckConstraint(condition=models.Q(('error_category', ''), models.Q(('earliest_wrong_step__isnull', False), ('error_category__in', ['calculation', 'logic', 'misread', 'unjustified', 'hallucinated', 'contradiction', 'incomplete', 'other'])), _connector='OR'), name='label_category_of_a_wrong_step'), models.CheckConstraint(condition=models.Q(models.Q(('hack_kind', ''), ('is_hack_admitted', None)), models.Q(('hack_kind__in', ['', 'enumeration', 'several_boxes', 'tests', 'judge_injection', 'format_gaming', 'other']), ('is_hack', True)), _connector='OR'), name='label_kind_of_a_hack'), models.CheckConstraint(condition=models.Q(('problem_fault__in', ['', 'wrong_reference', 'ambiguous', 'no_answer', 'several_answers', 'other'])), name='label_problem_fault_known'), models.CheckConstraint(condition=models.Q(('confidence', None), ('confidence__in', [1, 2, 3]), _connector='OR'), name='label_confidence_known'), models.CheckConstraint(condition=models.Q(('criteria__contained_by', ['met', 'not_met', 'cannot_tell'])), name='label_criteria_known'), models.UniqueConstraint(fields=('reviewer', 'client_key'), name='label_key_once')],
            },
        ),
        migrations.CreateModel(
            name='Retraction',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('label', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='retraction', to='labeling.label')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name='Reveal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('label', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='reveal', to='labeling.label')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name='Objection',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('label', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='objection', to='labeling.label')),
                ('note', models.TextField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name='Adjudication',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('answer', models.CharField(choices=[('correct', 'Correct'), ('incorrect', 'Incorrect'), ('cannot_tell', 'cannot tell')], max_length=12)),
                ('step_id', models.CharField(blank=True, default='', max_length=40)),
                ('earliest_wrong_step', models.PositiveIntegerField(null=True)),
                ('has_no_wrong_step', models.BooleanField(default=False)),
                ('error_category', models.CharField(blank=True, choices=[('calculation', 'Calculation'), ('logic', 'Logic'), ('misread', 'misread problem'), ('unjustified', 'unjustified claim'), ('hallucinated', 'hallucinated fact'), ('contradiction', 'Contradiction'), ('incomplete', 'Incomplete'), ('other', 'Other')], default='', max_length=20)),
                ('is_format_kept', models.BooleanField(null=True)),
                ('is_hack', models.BooleanField(null=True)),
                ('hack_kind', models.CharField(blank=True, choices=[('enumeration', 'answer enumeration'), ('several_boxes', 'several boxed answers'), ('tests', 'hard-coded or skipped tests'), ('judge_injection', 'judge injection'), ('format_gaming', 'gaming the format'), ('other', 'Other')], default='', max_length=20)),
                ('is_hack_admitted', models.BooleanField(null=True)),
                ('is_answer_supported', models.BooleanField(null=True)),
                ('problem_fault', models.CharField(blank=True, choices=[('wrong_reference', 'wrong reference'), ('ambiguous', 'Ambiguous'), ('no_answer', 'no answer'), ('several_answers', 'several answers'), ('other', 'Other')], default='', max_length=20)),
                ('confidence', models.PositiveSmallIntegerField(choices=[(1, 'unsure'), (2, 'fairly sure'), (3, 'certain')], null=True)),
                ('criteria', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(choices=[('met', 'Met'), ('not_met', 'not met'), ('cannot_tell', 'cannot tell')], max_length=12), default=list, size=None)),
                ('queue', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='adjudications', to='labeling.queue')),
                ('rollout', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='adjudications', to='rollouts.rollout')),
                ('decided_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='adjudications', to=settings.AUTH_USER_MODEL)),
                ('reason', models.TextField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'indexes': [models.Index(fields=['queue', 'rollout', '-id'], name='adjudication_newest')],
                'constraints': [models.CheckConstraint(condition=models.Q(('answer__in', ['correct', 'incorrect', 'cannot_tell'])), name='adjudication_answer_known'), models.CheckConstraint(condition=models.Q(('earliest_wrong_step', None), models.Q(('earliest_wrong_step__gte', 1), ('has_no_wrong_step', False)), _connector='OR'), name='adjudication_wrong_step_consistent'), models.CheckConstraint(condition=models.Q(('error_category', ''), models.Q(('earliest_wrong_step__isnull', False), ('error_category__in', ['calculation', 'logic', 'misread', 'unjustified', 'hallucinated', 'contradiction', 'incomplete', 'other'])), _connector='OR'), name='adjudication_category_of_a_wrong_step'), models.CheckConstraint(condition=models.Q(models.Q(('hack_kind', ''), ('is_hack_admitted', None)), models.Q(('hack_kind__in', ['', 'enumeration', 'several_boxes', 'tests', 'judge_injection', 'format_gaming', 'other']), ('is_hack', True)), _connector='OR'), name='adjudication_kind_of_a_hack'), models.CheckConstraint(condition=models.Q(('problem_fault__in', ['', 'wrong_reference', 'ambiguous', 'no_answer', 'several_answers', 'other'])), name='adjudication_problem_fault_known'), models.CheckConstraint(condition=models.Q(('confidence', None), ('confidence__in', [1, 2, 3]), _connector='OR'), name='adjudication_confidence_known'), models.CheckConstraint(condition=models.Q(('criteria__contained_by', ['met', 'not_met', 'cannot_tell'])), name='adjudication_criteria_known')],
            },
        ),
        migrations.CreateModel(
            name='SettledClass',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='settled_classes', to='runs.run')),
                ('prompt', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='settled_classes', to='runs.prompt')),
                ('answer_class', models.TextField()),
                ('answer', models.CharField(choices=[('correct', 'correct'), ('incorrect', 'incorrect')], max_length=12)),
                ('label', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='settled_classes', to='labeling.label')),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('mixed_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='classes_found_mixed', to='labeling.label')),
                ('mixed_at', models.DateTimeField(null=True)),
                ('withdrawn_at', models.DateTimeField(null=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(condition=models.Q(('mixed_at', None), ('withdrawn_at', None)), fields=('prompt', 'answer_class'), name='settled_class_once'), models.CheckConstraint(condition=models.Q(('answer__in', ['correct', 'incorrect'])), name='settled_class_decided')],
            },
        ),
        migrations.CreateModel(
            name='GoldItem',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='gold_items', to='accounts.project')),
                ('rollout', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='gold_item', to='rollouts.rollout')),
                ('answer', models.CharField(choices=[('correct', 'correct'), ('incorrect', 'incorrect')], max_length=12)),
                ('is_hack', models.BooleanField(default=False)),
                ('is_practice', models.BooleanField(default=False)),
                ('explanation', models.TextField(blank=True, default='')),
                ('set_by', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('answer__in', ['correct', 'incorrect'])), name='gold_answer_decided')],
            },
        ),
        migrations.CreateModel(
            name='PracticeAnswer',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('queue', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='practice_answers', to='labeling.queue')),
                ('reviewer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='practice_answers', to=settings.AUTH_USER_MODEL)),
                ('gold', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='practice_answers', to='labeling.golditem')),
                ('attempt', models.PositiveSmallIntegerField()),
                ('answer', models.CharField(choices=[('correct', 'Correct'), ('incorrect', 'Incorrect'), ('cannot_tell', 'cannot tell')], max_length=12)),
                ('is_hack', models.BooleanField(null=True)),
                ('is_right', models.BooleanField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('queue', 'reviewer', 'attempt', 'gold'), name='practice_answer_once')],
            },
        ),
        migrations.CreateModel(
            name='Qualification',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('queue', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='qualifications', to='labeling.queue')),
                ('reviewer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='qualifications', to=settings.AUTH_USER_MODEL)),
                ('granted_by', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('queue', 'reviewer'), name='qualification_once')],
            },
        ),
        migrations.CreateModel(
            name='Pause',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('queue', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='pauses', to='labeling.queue')),
                ('reviewer', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='pauses', to=settings.AUTH_USER_MODEL)),
                ('reason', models.TextField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('lifted_at', models.DateTimeField(null=True)),
                ('lifted_by', models.CharField(blank=True, default='', max_length=200)),
            ],
            options={
                'constraints': [models.UniqueConstraint(condition=models.Q(('lifted_at', None)), fields=('queue', 'reviewer'), name='one_pause_per_reviewer_and_queue')],
            },
        ),
        migrations.AddField(
            model_name='assignment',
            name='settled_by',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='assignments', to='labeling.settledclass'),
        ),
        migrations.AddConstraint(
            model_name='assignment',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('settled_by__isnull', False), ('state', 'settled')), models.Q(models.Q(('state', 'settled'), _negated=True), ('settled_by', None)), _connector='OR'), name='settled_by_something'),
        ),
    ]
