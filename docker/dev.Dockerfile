# All that building, testing and measuring need, without the sources: they are mounted.
#   docker build -f docker/dev.Dockerfile -t slabbuf-dev .
#   docker run --rm -it -v "$PWD:/slabbuf" slabbuf-dev tests/run --quick
ARG BASE=docker.io/library/debian:bookworm-slim
FROM ${BASE}
COPY docker /tmp/docker
RUN /tmp/docker/install build examples test bench && rm -rf /tmp/docker /var/lib/apt/lists/*
# Without a browser the tests of pages would be skipped unseen.
ENV CI=1
WORKDIR /slabbuf
CMD ["bash"]
