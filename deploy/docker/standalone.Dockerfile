# The whole platform in one container: docker run -p 8080:8080 -p 8081:8081 -v platform:/var/lib/platform IMAGE
# Built from what `make images` publishes: docker build -f deploy/docker/standalone.Dockerfile artifacts/publish
ARG BASE=debian:trixie-slim
FROM ${BASE}
RUN groupadd --gid 10001 platform && useradd --uid 10001 --gid platform --no-create-home platform \
    && mkdir -p /var/lib/platform && chown platform:platform /var/lib/platform
COPY libtorch/ /opt/platform/libtorch/
COPY worker/ /opt/platform/worker/
COPY serving/ /opt/platform/serving/
COPY standalone/ /opt/platform/standalone/
ENV PLATFORM_LIBTORCH=/opt/platform/libtorch DOTNET_EnableDiagnostics=0
USER 10001:10001
VOLUME /var/lib/platform
EXPOSE 8080 8081
ENTRYPOINT ["/opt/platform/standalone/platform-standalone", "--host", "*", "--data", "/var/lib/platform"]
