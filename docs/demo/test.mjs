// Compares what the pages' own code computes with what Python computed: `node test.mjs CASES.json`.
// CASES.json is written by tests/saved/test_page_in_browser.py: a list of {name, ..., expected: {steps: {what: numbers}}},
// in which a case has points, drawings or strokes. No number may be off by more than 1e-4, or by that part of it.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { defaultDevice, init } from "@jax-js/jax";
import { bytes } from "./src/arrays.js";
import * as characters from "./src/characters.js";
import { drawn, scanned } from "./src/drawing.js";
import { makeNetwork, teach } from "./src/learn.js";

const TOLERANCE = 1e-4;

/** What is computed before the first step, after it, and so on, by the kind of case. */
const kinds = {
  *points({ network, points, grid }) {
    for (const { loss, outputs } of teach(makeNetwork(network), points, grid)) yield { loss: [loss], outputs };
  },
  *drawings({ network, drawings }) {
    const [support, query] = drawings.map((texts) => texts.map((text) => scanned(bytes(text)).pixels));
    const pixels = [...support, ...query].flatMap((image) => [...image]);
    for (const { loss, layers } of characters.adapt(characters.makeNetwork(network), support)) {
      const transductive = characters.transductive(layers, query).flat();
      const inductive = query.flatMap((image) => characters.inductive(layers, support, image));
      yield { loss: [loss], transductive, inductive, pixels };
    }
  },
  *strokes({ strokes }) {
    yield { pixels: drawn(strokes).pixels };
  },
};

await init("wasm");
defaultDevice("wasm");

const cases = JSON.parse(await readFile(process.argv[2], "utf8"));
for (const { name, expected, ...given } of cases) {
  const last = Math.max(...Object.keys(expected).map(Number));
  const lesson = kinds[Object.keys(kinds).find((kind) => kind in given)](given);
  let worst = 0;
  for (let step = 0; step <= last; step++) {
    const computed = lesson.next().value;
    for (const [what, wanted] of Object.entries(expected[step] ?? {})) {
      assert.equal(computed[what].length, wanted.length, `${name}: numbers of ${what}`);
      wanted.forEach((number, index) => {
        const off = Math.abs(computed[what][index] - number) / Math.max(1, Math.abs(number));
        assert(off <= TOLERANCE, `${name}, ${what} after ${step} steps: ${computed[what][index]} and not ${number}`);
        worst = Math.max(worst, off);
      });
    }
  }
  lesson.return();
  console.log(`${name}: off by ${worst.toExponential(1)} at most`);
}
assert(cases.length > 0, "no cases");
