import os
import sys

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "review.settings")

# A commit is many short steps between answers of the database. At each it would wait its turn
# behind a thread that renders a page: 5 ms by default, a millisecond with this.
sys.setswitchinterval(0.001)

application = get_wsgi_application()
