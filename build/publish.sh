#!/usr/bin/env bash
# Publishes the services self-contained for linux-x64 into artifacts/publish, as the images take them:
#
#   build/publish.sh [SERVICE ...]    gateway, scheduler, worker, serving, standalone; all when none is given
#
# worker and serving share one directory of native libraries, artifacts/publish/libtorch, which an image puts at
# /opt/platform/libtorch (PLATFORM_LIBTORCH).
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 MSBUILDDISABLENODEREUSE=1
out=artifacts/publish
declare -A project=(
    [gateway]=services/gateway [scheduler]=services/scheduler [worker]=services/worker/Platform.Worker
    [serving]=services/serving [standalone]=services/standalone)
services=("$@")
[ ${#services[@]} -gt 0 ] || services=(gateway scheduler worker serving standalone)
for service in "${services[@]}"; do
    [ -n "${project[$service]:-}" ] || { echo "publish: no service '$service'; there are ${!project[*]}" >&2; exit 2; }
    echo "publish: $service"
    rm -rf "${out:?}/$service"
    dotnet publish "${project[$service]}" -c Release -r linux-x64 --self-contained -o "$out/$service" -v q --nologo \
        -nodeReuse:false -p:UseSharedCompilation=false
done
# Only worker and serving load it, and only once they have been restored is it there.
case " ${services[*]} " in
    *" worker "* | *" serving "*) ;;
    *) exit 0 ;;
esac
echo "publish: libtorch"
rm -rf "${out:?}/libtorch"
mkdir -p "$out/libtorch"
packages=${NUGET_PACKAGES:-$HOME/.nuget/packages}
version() { sed -n "s/.*Include=\"$1\" Version=\"\[\([^]]*\)\]\".*/\1/p" Directory.Packages.props; }
for file in "$packages/libtorch-cpu-linux-x64/$(version libtorch-cpu-linux-x64)"/runtimes/linux-x64/native/*.so* \
    "$packages/torchsharp/$(version TorchSharp)"/runtimes/linux-x64/native/*.so*; do
    # A hard link where the file system allows one: libtorch is 490 MB.
    ln -f "$file" "$out/libtorch/" 2>/dev/null || cp "$file" "$out/libtorch/"
done
