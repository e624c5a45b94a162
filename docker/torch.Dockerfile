# A worker whose verifiers need torch: the server's image and the trainer's packages.
#   docker build -f docker/torch.Dockerfile -t assay-torch .   (after assay-web)
FROM assay-web

USER root
RUN pip install -c constraints.txt -e '.[trainer]'
USER assay
CMD ["celery", "-A", "review", "worker", "--queues", "verify-torch", "--concurrency", "1"]
