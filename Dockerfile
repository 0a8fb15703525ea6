# The service of sweep: `docker build --tag sweep .`, then see compose.yaml.
#
# Every command below is a plain one; tests/service/test_container.py runs them without Docker.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HOME=/data \
    SWEEP_CACHE=/data/cache \
    SWEEP_STORAGE=sqlite:////data/sweep.db

WORKDIR /opt/sweep
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY sweep ./sweep
RUN python -m pip install --no-cache-dir --constraint constraints.txt ".[postgres]"

# The study files that the page offers; mount a directory here to offer others.
COPY studies /studies

# Nothing runs as root, and nothing but /data can be written.
RUN useradd --system --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin sweep
RUN install --directory --owner=sweep --group=sweep /data
USER sweep
WORKDIR /data
VOLUME ["/data"]

EXPOSE 8080
# Reached from outside the container, the service needs a token: set SWEEP_TOKEN, or read the one
# that it makes up and prints.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=5).read()"]
CMD ["sweep", "serve", "--host", "0.0.0.0", "--port", "8080", "--studies", "/studies", "--log-format", "json"]
