import django.contrib.postgres.fields
import django.db.models.deletion
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [('runs', '0001_initial'), ('runs', '0002_prompt_difficulty'), ('runs', '0003_errata'), ('runs', '0004_recut')]

    initial = True

    dependencies = [
        ('accounts', '0001_squashed_0003_sign_ins'),
    ]

    operations = [
        migrations.CreateModel(
            name='Run',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='runs', to='accounts.project')),
                ('uid', models.CharField(max_length=200)),
                ('name', models.CharField(max_length=200)),
                ('status', models.CharField(choices=[('running', 'Running'), ('finished', 'Finished'), ('failed', 'Failed')], default='running', max_length=20)),
                ('seed', models.BigIntegerField(null=True)),
                ('config', models.JSONField(default=dict)),
                ('group_size', models.PositiveIntegerField()),
                ('normaliser', models.CharField(max_length=40)),
                ('segmenter', models.CharField(choices=[('auto', 'paragraphs, else lines, else sentences'), ('blank_line', 'blank lines'), ('numbered', 'its own numbering'), ('sentence', 'sentences'), ('source', 'as the source sent them')], default='auto', max_length=20)),
                ('recut_after', models.BigIntegerField(null=True)),
                ('step_block', models.PositiveIntegerField(default=1)),
                ('completed_step', models.IntegerField(default=-1)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('project', 'uid'), name='run_uid_once_per_project'), models.CheckConstraint(condition=models.Q(('group_size__gte', 1), ('step_block__gte', 1)), name='run_sizes_positive'), models.CheckConstraint(condition=models.Q(('status__in', ['running', 'finished', 'failed'])), name='run_status_known'), models.CheckConstraint(condition=models.Q(('segmenter__in', ['auto', 'blank_line', 'numbered', 'sentence', 'source'])), name='run_segmenter_known')],
            },
        ),
        migrations.CreateModel(
            name='Policy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='policies', to='runs.run')),
                ('uid', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('run', 'uid'), name='policy_uid_once_per_run')],
            },
        ),
        migrations.CreateModel(
            name='Prompt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('run', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='prompts', to='runs.run')),
                ('uid', models.CharField(max_length=200)),
                ('text', models.TextField()),
                ('references', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), default=list, size=None)),
                ('domain', models.CharField(default='general', max_length=60)),
                ('source', models.CharField(blank=True, default='', max_length=120)),
                ('licence', models.CharField(blank=True, default='', max_length=60)),
                ('released_on', models.DateField(null=True)),
                ('difficulty', models.PositiveSmallIntegerField(null=True)),
                ('split', models.CharField(choices=[('train', 'Train'), ('eval', 'Eval'), ('holdout', 'Holdout')], default='train', max_length=10)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('run', 'uid'), name='prompt_uid_once_per_run'), models.CheckConstraint(condition=models.Q(('split__in', ['train', 'eval', 'holdout'])), name='prompt_split_known'), models.CheckConstraint(condition=models.Q(('difficulty', None), ('difficulty__lte', 100), _connector='OR'), name='prompt_difficulty_in_range')],
            },
        ),
        migrations.CreateModel(
            name='Erratum',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('prompt', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='errata', to='runs.prompt')),
                ('fault', models.CharField(choices=[('wrong_reference', 'wrong reference'), ('ambiguous', 'Ambiguous'), ('no_answer', 'no answer'), ('several_answers', 'several answers'), ('other', 'Other')], max_length=20)),
                ('state', models.CharField(choices=[('open', 'Open'), ('upheld', 'Upheld'), ('dismissed', 'Dismissed'), ('withdrawn', 'Withdrawn')], default='open', max_length=10)),
                ('note', models.TextField(blank=True, default='')),
                ('opened_by', models.CharField(max_length=200)),
                ('opened_at', models.DateTimeField(auto_now_add=True)),
                ('decided_by', models.CharField(blank=True, default='', max_length=200)),
                ('decided_at', models.DateTimeField(null=True)),
                ('decision', models.TextField(blank=True, default='')),
            ],
            options={
                'constraints': [models.UniqueConstraint(condition=models.Q(('state', 'open')), fields=('prompt', 'fault'), name='one_open_erratum_per_fault'), models.CheckConstraint(condition=models.Q(('state__in', ['open', 'upheld', 'dismissed', 'withdrawn'])), name='erratum_state_known'), models.CheckConstraint(condition=models.Q(('fault__in', ['wrong_reference', 'ambiguous', 'no_answer', 'several_answers', 'other'])), name='erratum_fault_known')],
            },
        ),
    ]
