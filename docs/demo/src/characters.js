// `jax_meta.models.Conv4` with strides and the mean over space, on 28 x 28 images; its layers are four convolutions,
// whose bias is that of the normalisation, and the linear head.

import { jit, lax, nn, numpy as np, tree } from "@jax-js/jax";
import { makeStep, startOf } from "./descent.js";
import { SEEN } from "./drawing.js";

const EPSILON = 1e-5; // of `jax_meta.layers.BatchNorm`

/** Each channel of `[images, channels, height, width]` by its mean and variance over the batch at hand, and a bias. */
function normalise(images, bias) {
  const mean = np.mean(images.ref, [0, 2, 3], { keepdims: true });
  const centred = images.sub(mean);
  const variance = np.mean(np.square(centred.ref), [0, 2, 3], { keepdims: true });
  return centred.div(np.sqrt(variance.add(EPSILON))).add(bias.reshape([1, -1, 1, 1]));
}

/** Logits `[images, ways]` of `[images, 1, 28, 28]`, which are normalised together. */
function apply(layers, images) {
  const head = layers.at(-1);
  const features = layers
    .slice(0, -1)
    .reduce((hidden, { kernel, bias }) => nn.relu(normalise(lax.conv(hidden, kernel, [2, 2], "SAME"), bias)), images);
  return np.matmul(np.mean(features, [2, 3]), head.kernel).add(head.bias);
}

/** The mean cross-entropy of images of which the first is of class 0, the second of class 1, and so on. */
function loss(layers, images) {
  const [ways] = images.shape;
  return np.sum(nn.logSoftmax(apply(layers, images)).mul(np.eye(ways))).mul(-1 / ways);
}

const step = jit(makeStep(loss));
const classify = jit(apply);

/** A network of the page's data, ready to be taught. */
export const makeNetwork = startOf;

/** Images, each a Float32Array of its pixels, as one array. */
const stack = (images) => np.array(Float32Array.from(images.flatMap((image) => [...image]))).reshape([images.length, 1, SEEN, SEEN]);

/** Yields `{loss, layers}` before the first step on one image of each class, after it, and so on; the layers are yours. */
export function* adapt({ pull, start, rates }, support) {
  const batch = stack(support);
  let layers = tree.ref(start);
  try {
    for (;;) {
      const [value, moved] = step(tree.ref(layers), tree.ref(start), tree.ref(rates), pull.ref, batch.ref);
      const before = layers;
      layers = moved;
      yield { loss: value.dataSync()[0], layers: before };
    }
  } finally {
    tree.dispose([layers, batch]);
  }
}

/** Logits of images that are normalised together, an array for each. */
export function logits(layers, images) {
  const found = classify(tree.ref(layers), stack(images));
  const ways = found.shape[1];
  const numbers = found.dataSync();
  return images.map((_, index) => [...numbers.slice(index * ways, (index + 1) * ways)]);
}

/** Logits of each query: all queries normalised together, or each with the support alone. */
export const transductive = logits;
export const inductive = (layers, support, query) => logits(layers, [...support, query]).at(-1);
