# The whole platform in one container:
#   docker run --init --shm-size 512m -p 8080:8080 -p 8081:8081 -v platform:/var/lib/platform IMAGE
# Built from what `make images` publishes: docker build -f deploy/docker/standalone.Dockerfile artifacts/publish
ARG BASE=debian:trixie-slim
FROM ${BASE}
# ca-certificates brings OpenSSL, which .NET computes hashes and speaks TLS with; setsid and setpriv, which the agents
# start processes with, are part of util-linux. A new volume takes over the owner of the directory it is mounted on.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates util-linux && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 platform && useradd --uid 10001 --gid platform --no-create-home platform \
    && mkdir -p /var/lib/platform && chown platform:platform /var/lib/platform
COPY libtorch/ /opt/platform/libtorch/
COPY worker/ /opt/platform/worker/
COPY serving/ /opt/platform/serving/
COPY standalone/ /opt/platform/standalone/
ENV PLATFORM_LIBTORCH=/opt/platform/libtorch DOTNET_EnableDiagnostics=0 \
    Standalone__Host=* Standalone__HttpPort=8080 Standalone__GrpcPort=8081 Standalone__Data=/var/lib/platform
USER 10001:10001
VOLUME /var/lib/platform
EXPOSE 8080 8081
ENTRYPOINT ["/opt/platform/standalone/platform-standalone"]
