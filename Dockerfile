# The daemon and its commands: docker build --tag dynaview .
# It follows the declaration that is mounted at /etc/dynaview/dynaview.yaml.
ARG PYTHON=3.13.18

FROM python:${PYTHON}-slim AS build
WORKDIR /build
# The lock is all that is needed, and less than libraries ask for: opensearch-py never imports its gRPC client unasked.
COPY requirements-runtime.txt ./
RUN python -m venv /opt/dynaview \
    && /opt/dynaview/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement requirements-runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY projections projections
COPY sinks sinks
COPY sources sources
COPY local local
COPY views views
# --no-index: the wheel is built by the locked setuptools, and nothing more may be fetched.
RUN /opt/dynaview/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/dynaview/bin/pip install --no-index --no-deps dist/*.whl \
    && /opt/dynaview/bin/pip uninstall --yes setuptools pip

FROM python:${PYTHON}-slim
# The folder of the SQLite control store is the user's own, so that a new named volume mounted there is too.
RUN useradd --uid 10001 --create-home dynaview \
    && install --directory --owner=dynaview --group=dynaview /var/lib/dynaview
COPY --from=build /opt/dynaview /opt/dynaview
ENV PATH=/opt/dynaview/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# By number, so that Kubernetes can tell that it is not root. Nothing but the folder below has to be writable.
USER 10001:10001
WORKDIR /var/lib/dynaview
ENTRYPOINT ["dynaview"]
CMD ["run", "-f", "/etc/dynaview/dynaview.yaml"]
# A view that stopped, and a lag that grows because nothing moves, are both bad health.
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s --retries=3 \
    CMD ["dynaview", "status", "-f", "/etc/dynaview/dynaview.yaml", "--check", "--max-lag", "300"]
