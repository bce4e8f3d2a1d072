#!/bin/sh
# Formatting and protobuf lint. Analyzers run in the build itself, with warnings as errors.
set -eu
cd "$(dirname -- "$0")/.."
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
echo "lint: formatting"
dotnet format whitespace . --folder --verify-no-changes --exclude artifacts
if [ -x build/buf-lint.sh ]; then
    echo "lint: protobuf definitions"
    build/buf-lint.sh
fi
