# The server: web, worker and beat are one image with different commands (compose.yaml).
#   docker build -f docker/web.Dockerfile -t assay-web .
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1
# The sandbox of the code verifier; its container must allow user namespaces (compose.yaml).
RUN apt-get update && apt-get install -y --no-install-recommends bubblewrap \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --create-home assay \
    && install --directory --owner assay --mode 700 /uploads
WORKDIR /app

COPY pyproject.toml constraints.txt README.md LICENSE manage.py ./
COPY review review
COPY trainer trainer
COPY templates templates
COPY static static
# Editable: templates and static files are found beside the code.
RUN pip install -c constraints.txt -e '.[web]'

USER assay
EXPOSE 8000
CMD ["granian", "--interface", "wsgi", "--host", "0.0.0.0", "--port", "8000", "--no-ws", \
     "--workers", "2", "--blocking-threads", "4", "review.wsgi:application"]
