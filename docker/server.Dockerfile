# echo_server, file_server and file_client in a small image that needs no root and writes nothing of its own.
#   docker build -f docker/server.Dockerfile -t slabbuf .
#   docker run --read-only -p 8080:8080 -v "$PWD:/srv:ro" slabbuf
# BASE: Debian 12 or newer. docker/image makes one where there is no registry, and builds this there.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
WORKDIR /slabbuf
COPY docker docker
RUN docker/install build
COPY . .
RUN cmake --preset release -DSLABBUF_BUILD_TESTS=OFF -DSLABBUF_BUILD_BENCH=OFF -DSLABBUF_INSTALL=OFF \
 && cmake --build --preset release --target echo_server file_server file_client \
 && strip build/release/bin/*

# For compose.yaml: what reads the servers' metrics.
FROM ${BASE} AS prometheus
WORKDIR /slabbuf
COPY docker docker
RUN docker/install unpack && install build/tools/prometheus/usr/bin/prometheus /usr/local/bin/ && rm -r /slabbuf
COPY docker/prometheus.yml /etc/prometheus.yml
USER 65534:65534
EXPOSE 9090
ENTRYPOINT ["prometheus", "--config.file=/etc/prometheus.yml"]
CMD ["--storage.tsdb.path=/tmp/prometheus"]

FROM ${BASE} AS server
COPY docker /tmp/docker
RUN /tmp/docker/install runtime && rm -rf /tmp/docker /var/lib/apt/lists/*
COPY --from=build /slabbuf/build/release/bin/echo_server /slabbuf/build/release/bin/file_server \
     /slabbuf/build/release/bin/file_client /usr/local/bin/
COPY docker/health /usr/local/bin/health
# Nobody: owns no file, and need not give up being root.
USER 65534:65534
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["health", "8081"]
ENTRYPOINT ["file_server"]
CMD ["--root", "/srv", "--http", "0.0.0.0:8080", "--admin", "0.0.0.0:8081", "--budget", "auto"]
