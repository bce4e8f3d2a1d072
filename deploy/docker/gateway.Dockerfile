# The gateway. Built from what `make images` publishes: docker build -f deploy/docker/gateway.Dockerfile artifacts/publish
ARG BASE=debian:trixie-slim
FROM ${BASE}
RUN groupadd --gid 10001 platform && useradd --uid 10001 --gid platform --no-create-home platform
COPY gateway/ /opt/platform/gateway/
ENV DOTNET_EnableDiagnostics=0
USER 10001:10001
ENTRYPOINT ["/opt/platform/gateway/platform-gateway"]
# HTTP/1.1: OpenAI and JSON APIs, /metrics, /healthz. HTTP/2: gRPC.
ENV Gateway__HttpListen=*:8080 Gateway__GrpcListen=*:8081
EXPOSE 8080 8081
