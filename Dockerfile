# Build with the toolchain, run without it.
FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make perl && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
# npm brings the pretrained weights (`eigenflow weights get resnet50`).
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates npm && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 eigenflow && install -d -o eigenflow /var/cache/eigenflow
COPY --from=build /src/target/release/eigenflow /usr/local/bin/eigenflow
USER eigenflow
ENV EIGENFLOW_CACHE=/var/cache/eigenflow
ENTRYPOINT ["eigenflow"]
CMD ["--help"]
