# The scheduler. Built from what `make images` publishes: docker build -f deploy/docker/scheduler.Dockerfile artifacts/publish
ARG BASE=debian:trixie-slim
FROM ${BASE}
RUN groupadd --gid 10001 platform && useradd --uid 10001 --gid platform --no-create-home platform
COPY scheduler/ /opt/platform/scheduler/
ENV DOTNET_EnableDiagnostics=0
USER 10001:10001
ENTRYPOINT ["/opt/platform/scheduler/platform-scheduler"]
# gRPC for the gateway and the node agents; /metrics and /healthz.
ENV Scheduler__Listen=*:8082 Scheduler__MetricsListen=*:9082
EXPOSE 8082 9082
