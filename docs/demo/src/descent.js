// What the Python library does in `jax_meta.adapt`: plain steps of gradient descent.
// Arrays of jax-js count their references: every use but the last takes `.ref`, and a call takes over what it is given.

import { numpy as np, tree, valueAndGrad } from "@jax-js/jax";
import { decodeAll } from "./arrays.js";

/** Where a network of the page's data starts, and how far it moves. */
export const startOf = ({ pull, layers, rates }) => ({
  pull: np.array(pull),
  start: decodeAll(layers),
  rates: decodeAll(rates),
});

/** One step on `loss(layers, batch)`, to be compiled: `(layers, start, rates, pull, batch) -> [loss, layers after it]`. */
export const makeStep = (loss) => (layers, start, rates, pull, batch) => {
  const [value, slopes] = valueAndGrad(loss)(tree.ref(layers), batch);
  const move = (param, first, rate, slope) =>
    param.ref.sub(rate.mul(slope.add(pull.ref.mul(param.sub(first))))); // φ - α (∇L(φ) + λ (φ - θ)), mostly λ = 0
  const moved = tree.map(move, layers, start, rates, slopes);
  pull.dispose();
  return [value, moved];
};
