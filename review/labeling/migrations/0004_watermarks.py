from django.db import migrations

# Whoever opens an item again, by whatever statement, lowers the marks at or above its rank. Locked
# until then, so that no mark is moved by what was seen before; in one order, so that two who do it
# never wait for each other. New marks are made under the queue's row: see move_watermark.
OPENED = """
CREATE FUNCTION labeling_item_opened() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM labeling_queue WHERE id = NEW.queue_id FOR KEY SHARE;
    PERFORM 1 FROM labeling_watermark WHERE queue_id = NEW.queue_id
        ORDER BY reviewer_id FOR NO KEY UPDATE;
    UPDATE labeling_watermark SET rank = NEW.rank - 1
        WHERE queue_id = NEW.queue_id AND rank >= NEW.rank;
    RETURN NULL;
END $$;
CREATE TRIGGER labeling_item_opened AFTER UPDATE OF state ON labeling_assignment
FOR EACH ROW WHEN (NEW.state = 'open' AND OLD.state <> 'open')
EXECUTE FUNCTION labeling_item_opened();
"""

# Whoever takes a label back can be served the rollout's other reviews again.
RETRACTED = """
CREATE FUNCTION labeling_label_retracted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE labeling_watermark AS mark SET rank = least(mark.rank, reviews.rank - 1)
    FROM (
        SELECT item.queue_id, label.reviewer_id, min(other.rank) AS rank
        FROM labeling_label AS label
        JOIN labeling_assignment AS item ON item.id = label.assignment_id
        JOIN labeling_assignment AS other
            ON other.queue_id = item.queue_id AND other.rollout_id = item.rollout_id
        WHERE label.id = NEW.label_id
        GROUP BY item.queue_id, label.reviewer_id
    ) AS reviews
    WHERE mark.queue_id = reviews.queue_id AND mark.reviewer_id = reviews.reviewer_id;
    RETURN NULL;
END $$;
CREATE TRIGGER labeling_label_retracted AFTER INSERT ON labeling_retraction
FOR EACH ROW EXECUTE FUNCTION labeling_label_retracted();
"""


class Migration(migrations.Migration):

    dependencies = [('labeling', '0003_desk')]

    operations = [
        migrations.RunSQL(
            OPENED,
            'DROP TRIGGER labeling_item_opened ON labeling_assignment;'
            ' DROP FUNCTION labeling_item_opened();',
        ),
        migrations.RunSQL(
            RETRACTED,
            'DROP TRIGGER labeling_label_retracted ON labeling_retraction;'
            ' DROP FUNCTION labeling_label_retracted();',
        ),
    ]
