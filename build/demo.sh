#!/usr/bin/env bash
# The whole path on one machine: start the platform, train a small language model with tensor x pipeline x data
# parallelism on real text, register it, deploy it, and ask it for text over HTTP and gRPC.
#
#   DATA=path      a file, directory or glob of your own text instead of the .NET reference documentation
#   KILL_RANK=1    kill a rank half-way with SIGKILL: the gang starts again from its last checkpoint and finishes
#   KEEP_UP=1      leave the platform running at the end, to try things with
#   STEPS=n        optimizer steps (the default costs 1.35e13 floating-point operations)
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
data_dir=${PLATFORM_DATA:-$root/.platform/demo}
steps=${STEPS:-320}
started=$SECONDS
server_pid= train_pid=

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

stop_all() {
    code=$?
    trap - EXIT INT TERM HUP
    for pid in $train_pid $server_pid; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in $train_pid $server_pid; do
        wait "$pid" 2>/dev/null || true
    done
    exit "$code"
}
trap stop_all EXIT
trap 'exit 130' INT TERM HUP

say "Building"
[ -n "${SKIP_BUILD:-}" ] || build/build.sh runtime
platform=$root/artifacts/bin/Platform.Cli/release/platform

say "Starting the platform: one control plane, two nodes of four CPU devices"
mkdir -p "$data_dir"
ready=$data_dir/ready.json
rm -f "$ready"
PLATFORM_HOME=$root "$platform" up --http-port 0 --grpc-port 0 --data "$data_dir" --ready-file "$ready" >"$data_dir/platform.log" 2>&1 &
server_pid=$!
until [ -s "$ready" ]; do
    kill -0 "$server_pid" 2>/dev/null || { cat "$data_dir/platform.log" >&2; server_pid=; fail "the platform did not start"; }
    sleep 0.2
done
address() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$ready"; }
http=$(address http)
PLATFORM_SERVER=$(address grpc)
export PLATFORM_SERVER
echo "OpenAI API at $http/v1, gRPC at $PLATFORM_SERVER, log in $data_dir/platform.log"

if [ -n "${DATA:-}" ]; then
    case $DATA in /*) sources="\"$DATA\"" ;; *) sources="\"$PWD/$DATA\"" ;; esac
else
    sdk=$(dirname -- "$(readlink -f -- "$(command -v dotnet)")")
    # The newest reference pack has the XML documentation of the base class library: a few megabytes of English.
    reference=$(find "$sdk/packs/Microsoft.NETCore.App.Ref" -path '*/ref/net*' -name System.Runtime.xml 2>/dev/null | sort -V | tail -n 1)
    [ -n "$reference" ] || fail "found no reference documentation below $sdk/packs; name some text of your own with DATA=path"
    sources="\"$reference\""
fi

job_file=$data_dir/api-docs-lm.yaml
cat >"$job_file" <<YAML
kind: TrainingJob
name: api-docs-lm
model: { architecture: llama, hidden_size: 256, intermediate_size: 688, num_hidden_layers: 4, num_attention_heads: 4,
         num_key_value_heads: 2, max_position_embeddings: 512, tie_word_embeddings: true }
data: { source: [ $sources ], format: text, tokenizer: { train: bpe, vocab_size: 2048 }, sequence_length: 128, eval_fraction: 0.01 }
parallelism: { tensor: 2, pipeline: 2, data: 2, micro_batch_size: 4, schedule: 1f1b }
training: { steps: $steps, global_batch_size: 16, precision: bf16, seed: 42, eval_every: 100 }
optimizer: { name: adamw, lr: 3e-3, min_lr: 3e-4, schedule: cosine, warmup_steps: 20, weight_decay: 0.1, grad_clip: 1.0 }
checkpoint: { every_steps: 50, keep: 2 }
output:
  register_as: api-docs-lm
  deploy:
    engine_config: { max_num_seqs: 16, kv_cache_bytes: 64MiB, dtype: bf16 }
YAML

# What an earlier run left on this data: its deployment holds a device, and an interrupted job would go on.
for old in $("$platform" jobs list | awk '$2 ~ /queued|starting|running|stopping|paused/ { print $1 }'); do
    echo "Cancelling $old of an earlier run"
    "$platform" jobs cancel "$old" >/dev/null
done
if "$platform" deployments list | grep -q '^api-docs-lm '; then
    echo "Deleting the deployment of an earlier run"
    "$platform" deployments delete api-docs-lm >/dev/null
fi
rm -f "$data_dir/train.log"

say "Training: tensor 2 x pipeline 2 x data 2, eight rank processes ($job_file)"
"$platform" train "$job_file" --watch > >(tee "$data_dir/train.log") 2>&1 &
train_pid=$!
job=
find_job() { sed -n 's/^Submitted \(projects\/[^ ]*[a-z0-9]\).*/\1/p' "$data_dir/train.log" 2>/dev/null | head -n 1; }
field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p" | head -n 1; }
if [ -n "${KILL_RANK:-}" ]; then
    while kill -0 "$train_pid" 2>/dev/null; do
        [ -n "$job" ] || job=$(find_job)
        if [ -n "$job" ]; then
            status=$("$platform" jobs get "$job" -o json)
            step=$(field step <<<"$status")
            if [ "${step:-0}" -ge $((steps / 2)) ]; then
                victim=$(sed -n 's/.*"processId": *\([0-9]*\).*/\1/p' <<<"$status" | sed -n '4p')
                printf '\n== Killing a rank (process %s) at step %s\n' "$victim" "$step"
                kill -KILL "$victim"
                break
            fi
        fi
        sleep 1
    done
fi
wait "$train_pid" || { train_pid=; fail "the job did not succeed; see $data_dir/train.log"; }
train_pid=
job=$(grep -o 'projects/[^ ]*/jobs/api-docs-lm-[a-z0-9]*' "$data_dir/train.log" | tail -n 1)

say "Deployed: waiting for the replica"
"$platform" deployments get api-docs-lm --wait
prompt="Returns the number of"

say "OpenAI endpoint: POST $http/v1/completions, streamed"
body="{\"model\":\"api-docs-lm\",\"prompt\":\"$prompt\",\"max_tokens\":60,\"temperature\":0.4,\"seed\":7,\"stream\":true}"
echo "curl -N $http/v1/completions -H 'Content-Type: application/json' -d '$body'"
post_stream() {
    if command -v curl >/dev/null 2>&1; then
        curl -sSN "$http/v1/completions" -H 'Content-Type: application/json' -d "$body"
        return
    fi
    local authority=${http#http://}
    exec 9<>"/dev/tcp/${authority%:*}/${authority##*:}"
    printf 'POST /v1/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %s\r\nConnection: close\r\n\r\n%s' \
        "$authority" "${#body}" "$body" >&9
    cat <&9
    exec 9>&-
}
now_ms() { date +%s%3N; }
asked=$(now_ms) first= text=
while IFS= read -r line; do
    case $line in
        *'"text":"'*)
            [ -n "$first" ] || first=$(($(now_ms) - asked))
            piece=${line#*\"text\":\"}
            piece=${piece%%\",\"finish_reason\"*}
            printf -v piece '%b' "$piece"
            [ -n "$text" ] || printf '%s' "$prompt"
            printf '%s' "$piece"
            text=$text$piece
            ;;
        *'"error"'*) fail "$line" ;;
    esac
done < <(post_stream)
echo
[ -n "$text" ] || fail "the OpenAI endpoint sent no text"

say "gRPC: platform generate api-docs-lm"
printf 'Initializes a new instance of'
"$platform" generate api-docs-lm "Initializes a new instance of" --max-tokens 60 --temperature 0.4 --seed 11

status=$("$platform" jobs get "$job" -o json)
model_path=$("$platform" models get api-docs-lm -o json | field path)
say "What happened"
printf '  job                 %s (%s restarts)\n' "$job" "$(field restarts <<<"$status")"
printf '  loss                %.3f -> %.3f nats per token\n' "$(field firstLoss <<<"$status")" "$(field loss <<<"$status")"
printf '  training speed      %.0f tokens/s on eight ranks\n' "$(field tokensPerSecond <<<"$status")"
printf '  time to first token %s ms (the whole way through gateway and HTTP)\n' "$first"
printf '  model               %s (Hugging Face layout)\n' "$model_path"
printf '  everything else     %s\n' "$data_dir"
printf '  the demo took       %d s\n' $((SECONDS - started))
cat <<TEXT

What to try next
  ./platform up --data $data_dir          start the platform again on the same data; then, in another terminal:
  ./platform chat api-docs-lm             talk to the model
  ./platform jobs metrics $(basename -- "$job") -o json
  make demo-kill                          the same with a rank killed half-way
  make demo DATA=/path/to/your/text       train on your own text
TEXT
if [ -n "${KEEP_UP:-}" ]; then
    say "The platform stays up at $http (gRPC $PLATFORM_SERVER); Ctrl-C stops it"
    wait "$server_pid"
fi
