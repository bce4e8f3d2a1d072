# One model server on its own, without scheduler and gateway: docker run -v DIR:/model IMAGE
# In a cluster replicas are started by node agents from the worker image.
# Built from what `make images` publishes: docker build -f deploy/docker/serving.Dockerfile artifacts/publish
ARG BASE=debian:trixie-slim
FROM ${BASE}
# ca-certificates brings OpenSSL, which .NET computes hashes and speaks TLS with.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 platform && useradd --uid 10001 --gid platform --no-create-home platform
COPY libtorch/ /opt/platform/libtorch/
COPY serving/ /opt/platform/serving/
ENV PLATFORM_LIBTORCH=/opt/platform/libtorch DOTNET_EnableDiagnostics=0
USER 10001:10001
# gRPC EngineService; /metrics, /healthz and /readyz.
EXPOSE 8090 9090
ENTRYPOINT ["/opt/platform/serving/platform-serving"]
CMD ["--model", "/model", "--listen", "*:8090", "--metrics-listen", "*:9090"]
