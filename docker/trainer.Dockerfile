# The reference trainer, without the server.
#   docker build -f docker/trainer.Dockerfile -t assay-trainer .
#   docker run -e ASSAY_URL -e ASSAY_TOKEN -v "$PWD/run.toml:/run.toml" assay-trainer /run.toml
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1
# The sandbox of the code verifier. Docker forbids what it needs: a run that uses it wants also
#   --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
#   --security-opt systempaths=unconfined
RUN apt-get update && apt-get install -y --no-install-recommends bubblewrap \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --create-home assay
WORKDIR /app

COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY trainer trainer
RUN pip install -c constraints.txt -e '.[trainer]'

USER assay
WORKDIR /home/assay
ENTRYPOINT ["python", "-m", "trainer", "train"]
