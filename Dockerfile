# syntax=docker/dockerfile:1
# Builds the program and fetches the model by its pinned hashes; what runs is neither root nor able to write anywhere but
# in its data directory.
#   docker build -t refrain .
#   docker run -p 8080:8080 -v refrain:/data -e REFRAIN_TENANTS__ME__API_KEYS='["a key"]' refrain
FROM rust:1.95-slim-bookworm AS build
WORKDIR /refrain
RUN apt-get update && apt-get install -y --no-install-recommends g++ libclang-dev make python3-pip && rm -rf /var/lib/apt/lists/*
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
# Dependencies first, so that they are built anew only when they change.
RUN mkdir -p src benches \
    && echo 'fn main() {}' > src/main.rs \
    && sed -n '/^\[\[bench/{n;s/name = "\(.*\)"/benches\/\1.rs/p}' Cargo.toml | xargs -n 1 cp src/main.rs \
    && touch src/lib.rs && cargo build --release --locked && rm -rf src benches
COPY . .
RUN touch src/main.rs src/lib.rs && cargo build --release --locked \
    && target/release/refrain model fetch --models-dir models all-MiniLM-L6-v2

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/* && useradd --system --uid 10001 refrain && install -d -o refrain /data
COPY --from=build /refrain/target/release/refrain /usr/local/bin/refrain
COPY --from=build /refrain/models /usr/share/refrain/models
USER refrain
# Listening beyond loopback needs tenants with API keys; without them the start is refused with a sentence that says so.
ENV REFRAIN_SERVER__LISTEN=0.0.0.0:8080 REFRAIN_STORAGE__PATH=/data REFRAIN_EMBEDDING__MODELS_DIR=/usr/share/refrain/models
EXPOSE 8080
VOLUME /data
ENTRYPOINT ["refrain"]
CMD ["serve"]
