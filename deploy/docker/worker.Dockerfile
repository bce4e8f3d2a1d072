# The node agent, with the programs it starts: ranks (platform-worker rank) and replicas (platform-serving).
# Built from what `make images` publishes: docker build -f deploy/docker/worker.Dockerfile artifacts/publish
ARG BASE=debian:trixie-slim
FROM ${BASE}
RUN groupadd --gid 10001 platform && useradd --uid 10001 --gid platform --no-create-home platform \
    && mkdir -p /var/lib/platform && chown platform:platform /var/lib/platform
COPY libtorch/ /opt/platform/libtorch/
COPY worker/ /opt/platform/worker/
COPY serving/ /opt/platform/serving/
ENV PLATFORM_LIBTORCH=/opt/platform/libtorch DOTNET_EnableDiagnostics=0 \
    Agent__DataDirectory=/var/lib/platform \
    Agent__WorkerCommand__0=/opt/platform/worker/platform-worker \
    Agent__ServingCommand__0=/opt/platform/serving/platform-serving \
    Agent__MetricsListen=*:9083
USER 10001:10001
EXPOSE 9083
# Ranks of one node talk through shared memory: give the container at least 64 MB of /dev/shm per gang (--shm-size).
ENTRYPOINT ["/opt/platform/worker/platform-worker", "agent"]
