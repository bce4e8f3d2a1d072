# The scheduler. Built from what `make images` publishes: docker build -f deploy/docker/scheduler.Dockerfile artifacts/publish
ARG BASE=debian:trixie-slim
FROM ${BASE}
# ca-certificates brings OpenSSL, which .NET computes hashes and speaks TLS with. A new volume takes over the owner
# of the directory it is mounted on.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 platform && useradd --uid 10001 --gid platform --no-create-home platform \
    && mkdir -p /artifacts && chown platform:platform /artifacts
COPY scheduler/ /opt/platform/scheduler/
# gRPC for the gateway and the node agents; /metrics and /healthz.
ENV DOTNET_EnableDiagnostics=0 Scheduler__Listen=*:8082 Scheduler__MetricsListen=*:9082 Artifacts__Root=/artifacts
USER 10001:10001
EXPOSE 8082 9082
ENTRYPOINT ["/opt/platform/scheduler/platform-scheduler"]
