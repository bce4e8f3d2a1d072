// Runs a model with llama.cpp and answers one JSON command per line of standard input with one line of output.
import {createInterface} from "node:readline";
import {performance} from "node:perf_hooks";
import {pathToFileURL} from "node:url";
import {join} from "node:path";

const [modulePath, modelPath, threads, contextSize, precision] = process.argv.slice(2);
const {getLlama} = await import(pathToFileURL(join(modulePath, "node_modules", "node-llama-cpp", "dist", "index.js")).href);
const llama = await getLlama({
    gpu: false, build: "never", skipDownload: true, progressLogs: false, logLevel: "error", maxThreads: Number(threads)
});
const model = await llama.loadModel({modelPath});
// Attention in fp32 as well: the fused kernel may round on its way.
const cache = precision === "fp32" ? {experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32", flashAttention: false} : {};
const context = await model.createContext({
    sequences: 16, contextSize: Number(contextSize), batchSize: 512, threads: Number(threads), ...cache
});
const sequences = Array.from({length: 16}, () => context.getSequence());

async function stream(sequence, prompt, count) {
    const [times, tokens] = [[], []];
    for await (const token of sequence.evaluate(prompt, {temperature: 0, yieldEogToken: true})) {
        times.push(performance.now() / 1000);
        tokens.push(token);
        if (times.length >= count)
            break;
    }
    await sequence.clearHistory();
    return {times, tokens};
}

console.log(JSON.stringify({ready: true, threads: context.currentThreads}));
for await (const line of createInterface({input: process.stdin})) {
    const {prompts, count} = JSON.parse(line);
    const started = performance.now() / 1000;
    if (count === 0) {
        await sequences[0].evaluateWithoutGeneratingNewTokens(prompts[0]);
        const seconds = performance.now() / 1000 - started;
        await sequences[0].clearHistory();
        console.log(JSON.stringify({seconds}));
    } else {
        const streams = await Promise.all(prompts.map((prompt, i) => stream(sequences[i], prompt, count)));
        console.log(JSON.stringify({streams: streams.map(({times}) => times), tokens: streams.map(({tokens}) => tokens)}));
    }
}
process.exit(0);
