from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('rollouts', '0004_steps_of_all_messages'),
    ]

    operations = [
        migrations.AddField(
            model_name='import',
            name='advanced_at',
            field=models.DateTimeField(null=True),
        ),
    ]
