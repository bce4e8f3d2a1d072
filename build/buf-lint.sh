#!/bin/sh
# Lints the protobuf definitions with a pinned buf (build/buf/package-lock.json) under artifacts/. Says so and passes
# where npm is not installed.
set -eu
cd "$(dirname -- "$0")/.."
if ! command -v npm >/dev/null 2>&1; then
    echo "buf-lint: npm is not installed, so the protobuf definitions were not linted" >&2
    exit 0
fi

tool=artifacts/buf
mkdir -p "$tool"
if [ ! -x "$tool/node_modules/.bin/buf" ] || ! cmp -s build/buf/package-lock.json "$tool/installed.json"; then
    cp build/buf/package.json build/buf/package-lock.json "$tool/"
    # Not `npm ci`, which refuses when a registry lacks the builds for other systems.
    npm --prefix "$tool" install --ignore-scripts --no-audit --no-fund --loglevel=error >&2
    cp build/buf/package-lock.json "$tool/installed.json"
fi

# One tree with everything that is imported. The well-known types are built into buf.
dotnet=${DOTNET:-dotnet}
package=$("$dotnet" msbuild protos/Platform.Protos.csproj -nologo -getProperty:PkgGoogle_Api_CommonProtos)
if [ ! -d "$package" ]; then
    "$dotnet" restore protos/Platform.Protos.csproj -v q --nologo >&2
    package=$("$dotnet" msbuild protos/Platform.Protos.csproj -nologo -getProperty:PkgGoogle_Api_CommonProtos)
fi
tree=$tool/tree
rm -rf "$tree"
mkdir -p "$tree/google"
cp -R "$package/content/protos/google/api" "$package/content/protos/google/rpc" "$tree/google/"
cp -R protos/google/longrunning "$tree/google/"
cp -R protos/platform protos/buf.yaml "$tree/"

BUF_CACHE_DIR=$PWD/$tool/cache "$tool/node_modules/.bin/buf" lint "$tree" "$@"
