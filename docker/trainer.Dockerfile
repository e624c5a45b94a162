# The reference trainer, without the server.
#   docker build -f docker/trainer.Dockerfile -t assay-trainer .
#   docker run -e ASSAY_URL -e ASSAY_TOKEN -v "$PWD/run.toml:/run.toml" assay-trainer /run.toml
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1
RUN useradd --system --uid 10001 --create-home assay
WORKDIR /app

COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY trainer trainer
RUN pip install -c constraints.txt -e '.[trainer]'

USER assay
WORKDIR /home/assay
ENTRYPOINT ["python", "-m", "trainer", "train"]
