#!/bin/sh
# Builds with a compiler server of its own and leaves no build server behind, however it ends.
#
#   build/build.sh runtime [msbuild arguments]   the programs of the platform
#   build/build.sh all     [msbuild arguments]   the whole solution: tests and benchmarks too
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
what=${1:-all}
[ $# -eq 0 ] || shift
case $what in
    runtime) target=Platform.Runtime.slnf ;;
    all) target=Platform.sln ;;
    *) echo "build/build.sh: unknown target '$what'; use 'runtime' or 'all'" >&2; exit 2 ;;
esac
if ! command -v dotnet >/dev/null 2>&1; then
    echo "build/build.sh: the .NET 10 SDK is needed ('dotnet' is not on the PATH)" >&2
    exit 1
fi
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_SKIP_FIRST_TIME_EXPERIENCE=1
export MSBUILDDISABLENODEREUSE=1 DOTNET_CLI_USE_MSBUILD_SERVER=0
id="platform-$$-$(date +%s)"
build=
# The compiler server is known by the id that only this build gave it.
stop_compiler() {
    for process in /proc/[0-9]*; do
        if { tr '\0' ' ' <"$process/cmdline"; } 2>/dev/null | grep -q -- "-pipename:$id"; then
            kill "${process#/proc/}" 2>/dev/null || true
        fi
    done
}
on_signal() {
    # TERM, because a background process of a script has INT ignored.
    [ -z "$build" ] || { kill -TERM "$build" 2>/dev/null || true; stop_compiler; wait "$build" 2>/dev/null || true; }
    stop_compiler
    trap - EXIT
    exit 130
}
trap on_signal INT TERM HUP
trap stop_compiler EXIT
dotnet build "$target" -c Release -v q --nologo -nodeReuse:false "-p:SharedCompilationId=$id" "$@" &
build=$!
code=0
wait "$build" || code=$?
build=
if [ "$code" -eq 0 ]; then
    touch "$root/artifacts/runtime.stamp"
fi
exit "$code"
