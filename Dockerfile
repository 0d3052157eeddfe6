# syntax=docker/dockerfile:1
# The console, the package, and an image that holds no build tools and runs as nobody in particular.

FROM node:22-slim AS console
WORKDIR /source/web
COPY web/package.json web/package-lock.json web/.npmrc ./
COPY web/client/package.json client/
COPY web/console/package.json console/
COPY web/react/package.json react/
COPY web/reference/package.json reference/
RUN npm ci --no-audit --no-fund
COPY web ./
RUN npm run build

FROM python:3.12-slim AS package
WORKDIR /source
RUN python -m venv /opt/gateway
COPY requirements.lock ./
RUN /opt/gateway/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY .ci/build_hook.py .ci/
COPY web/build_console.py web/
COPY gateway gateway
# web/console is not copied: the build hook takes the console that is already built.
COPY --from=console /source/gateway/console gateway/console
RUN /opt/gateway/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/gateway/bin/pip uninstall --yes pip hatchling pathspec pluggy trove-classifiers

FROM python:3.12-slim
# By number, so that a cluster can see that it isn't root, and can give it the files of a volume.
RUN groupadd --system --gid 10001 gateway \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/gateway --create-home gateway
COPY --from=package /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/gateway
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/livez', timeout=2)"]
# Without authentication the gateway keeps to loopback. To reach it through a published port, configure
# authentication, or pass --host 0.0.0.0 --insecure on a network you trust.
ENTRYPOINT ["gateway"]
CMD ["serve"]
