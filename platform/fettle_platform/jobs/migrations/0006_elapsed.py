from itertools import groupby

from django.db import migrations, models

BATCH = 500


def sum_up(apps, schema_editor):
    """What the steps so far took, for each step there is."""
    step_rows = apps.get_model("jobs", "JobStep").objects
    rows = step_rows.order_by("job_id", "step").values_list("pk", "job_id", "metrics")
    changed = []
    for _, steps in groupby(rows.iterator(chunk_size=BATCH), key=lambda row: row[1]):
        elapsed_s = 0.0
        for pk, _, metrics in steps:
            elapsed_s += (metrics or {}).get("timing", {}).get("total_s", 0.0)
            changed.append(step_rows.model(pk=pk, elapsed_s=elapsed_s))
    step_rows.bulk_update(changed, ["elapsed_s"], batch_size=BATCH)


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0005_judge_usage"),
    ]

    operations = [
        migrations.AddField(
            model_name="jobstep",
            name="elapsed_s",
            field=models.FloatField(default=0.0),
        ),
        migrations.RunPython(sum_up, migrations.RunPython.noop, elidable=True),
    ]
