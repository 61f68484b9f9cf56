// Compares what the page's own code makes of points with what Python made of them: `node test.mjs CASES.json`.
// CASES.json holds a list of {name, network, points, grid, expected: {steps: {loss, outputs}}}, and is written by
// tests/saved/test_page_in_browser.py. No number may be off by more than 1e-4, or by that part of it.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { defaultDevice, init } from "@jax-js/jax";
import { makeNetwork, teach } from "./src/learn.js";

const TOLERANCE = 1e-4;

await init("wasm");
defaultDevice("wasm");

const cases = JSON.parse(await readFile(process.argv[2], "utf8"));
for (const { name, network, points, grid, expected } of cases) {
  const last = Math.max(...Object.keys(expected).map(Number));
  const lesson = teach(makeNetwork(network), points, grid);
  let worst = 0;
  for (let step = 0; step <= last; step++) {
    const { loss, outputs } = lesson.next().value;
    if (!(step in expected)) continue;
    const pairs = [[loss, expected[step].loss], ...expected[step].outputs.map((output, index) => [outputs[index], output])];
    for (const [found, wanted] of pairs) {
      const off = Math.abs(found - wanted) / Math.max(1, Math.abs(wanted));
      assert(off <= TOLERANCE, `${name}, after ${step} steps: ${found} and not ${wanted}`);
      worst = Math.max(worst, off);
    }
  }
  lesson.return();
  console.log(`${name}: off by ${worst.toExponential(1)} at most`);
}
assert(cases.length > 0, "no cases");
