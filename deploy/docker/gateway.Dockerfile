# The gateway. Built from what `make images` publishes: docker build -f deploy/docker/gateway.Dockerfile artifacts/publish
ARG BASE=debian:trixie-slim
FROM ${BASE}
# ca-certificates brings OpenSSL, which .NET computes hashes and speaks TLS with.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 platform && useradd --uid 10001 --gid platform --no-create-home platform \
    && mkdir -p /artifacts && chown platform:platform /artifacts
COPY gateway/ /opt/platform/gateway/
# HTTP/1.1: OpenAI and JSON APIs, /metrics, /healthz. HTTP/2: gRPC.
ENV DOTNET_EnableDiagnostics=0 Gateway__HttpListen=*:8080 Gateway__GrpcListen=*:8081
USER 10001:10001
EXPOSE 8080 8081
ENTRYPOINT ["/opt/platform/gateway/platform-gateway"]
