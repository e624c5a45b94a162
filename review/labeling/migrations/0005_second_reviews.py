from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("labeling", "0004_watermarks"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="assignment",
            index=models.Index(
                condition=models.Q(("slot__gt", 1), ("state", "done")),
                fields=["queue", "rollout"],
                name="assignment_second_done",
            ),
        ),
    ]
