# The node agent, with the programs it starts: ranks (platform-worker rank) and replicas (platform-serving).
# Built from what `make images` publishes: docker build -f deploy/docker/worker.Dockerfile artifacts/publish
ARG BASE=debian:trixie-slim
FROM ${BASE}
# ca-certificates brings OpenSSL, which .NET computes hashes and speaks TLS with; setsid and setpriv, which the agent
# starts processes with, are part of util-linux. A new volume takes over the owner of the directory it is mounted on.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates util-linux && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 platform && useradd --uid 10001 --gid platform --no-create-home platform \
    && mkdir -p /artifacts /var/lib/platform && chown platform:platform /artifacts /var/lib/platform
COPY libtorch/ /opt/platform/libtorch/
COPY worker/ /opt/platform/worker/
COPY serving/ /opt/platform/serving/
# /metrics, /healthz and /sd/targets; the rendezvous and the replicas take free ports, reached by other containers only.
ENV PLATFORM_LIBTORCH=/opt/platform/libtorch DOTNET_EnableDiagnostics=0 \
    Agent__DataDirectory=/var/lib/platform \
    Agent__WorkerCommand__0=/opt/platform/worker/platform-worker \
    Agent__ServingCommand__0=/opt/platform/serving/platform-serving \
    Agent__MetricsListen=*:9083 \
    Artifacts__Root=/artifacts
USER 10001:10001
EXPOSE 9083
VOLUME /var/lib/platform
# Ranks of one node talk through shared memory: give the container at least 64 MB of /dev/shm per gang (--shm-size).
ENTRYPOINT ["/opt/platform/worker/platform-worker", "agent"]
