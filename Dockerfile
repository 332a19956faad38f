# The server of lorerm. Built and run together with PostgreSQL by compose.yaml; docs/serve.md says how.
FROM python:3.12-slim-bookworm AS build
# An index that has torch without CUDA makes the image a fraction as large; empty: torch as it comes.
ARG TORCH_INDEX=""
ENV PIP_CACHE_DIR=/cache
WORKDIR /build
RUN python -m venv /opt/lorerm
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN --mount=type=cache,target=/cache \
    if [ -n "$TORCH_INDEX" ]; then /opt/lorerm/bin/pip install --constraint constraints.txt --index-url "$TORCH_INDEX" torch; fi \
    && /opt/lorerm/bin/pip install --constraint constraints.txt ".[serve]"

FROM python:3.12-slim-bookworm
# One thread per worker for small products: more workers, not more threads, serve more requests.
ENV PATH=/opt/lorerm/bin:$PATH OMP_NUM_THREADS=1 HF_HOME=/encoders
COPY --from=build /opt/lorerm /opt/lorerm
# /model: a run folder or a saved model, mounted; /data: where an SQLite database would be; /encoders: downloaded ones,
# writable for every user, because compose.yaml runs the server as the owner of the model.
RUN useradd --uid 10001 --no-create-home lorerm && install --directory --owner lorerm /data \
    && install --directory --mode 1777 /encoders
USER 10001
WORKDIR /data
VOLUME /data /encoders
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
ENTRYPOINT ["lorerm"]
CMD ["serve", "/model", "--host", "0.0.0.0"]
