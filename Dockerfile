# Builds the broker and puts it alone into a small image.
#   docker build -t chronik . && docker run -p 9092:9092 -v chronik:/data chronik
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends libclang-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release -p chronik-server

FROM debian:bookworm-slim
COPY --from=build /src/target/release/chronik-server /usr/local/bin/chronik-server
VOLUME /data
EXPOSE 9092 6092
ENTRYPOINT ["chronik-server"]
CMD ["start", "--data-dir", "/data", "--kafka-addr", "0.0.0.0:9092", "--http-addr", "0.0.0.0:6092"]
