// A multilayer perceptron, taught by steps of gradient descent on the mean squared error of points.

import { jit, nn, numpy as np, tree } from "@jax-js/jax";
import { makeStep, startOf } from "./descent.js";

const ACTIVATIONS = {
  relu: nn.relu,
  relu6: nn.relu6,
  leaky_relu: nn.leakyRelu,
  elu: nn.elu,
  selu: nn.selu,
  gelu: nn.gelu,
  silu: nn.silu,
  softplus: nn.softplus,
  sigmoid: nn.sigmoid,
  tanh: np.tanh,
};
const CAPACITIES = [16, 64]; // of points: a program is compiled for each, and the places that are left weigh nothing
export const MAX_POINTS = CAPACITIES.at(-1);

/** Outputs `[examples, 1]` of a multilayer perceptron at `inputs` `[examples, 1]`. */
function apply(activation, layers, inputs) {
  const last = layers.length - 1;
  return layers.reduce((hidden, { kernel, bias }, layer) => {
    const outputs = np.matmul(hidden, kernel).add(bias);
    return layer < last ? activation(outputs) : outputs;
  }, inputs);
}

/** `(layers, start, rates, pull, batch, grid) -> [loss, outputs on the grid, layers after one more step]`, compiled. */
function compile(activation) {
  function loss(layers, { inputs, targets, weights }) {
    return np.sum(np.square(apply(activation, layers, inputs).sub(targets)).mul(weights));
  }
  const step = makeStep(loss);
  return jit((layers, start, rates, pull, batch, grid) => {
    const outputs = apply(activation, tree.ref(layers), grid);
    const [value, moved] = step(layers, start, rates, pull, batch);
    return [value, outputs, moved];
  });
}

const steps = {}; // by activation: networks of one shape share a program

/** A network of the page's data, ready to be taught. */
export function makeNetwork({ activation, ...network }) {
  steps[activation] ??= compile(ACTIVATIONS[activation]);
  return { step: steps[activation], ...startOf(network) };
}

/** Points `[[x, y], ...]` as a batch; weights add up to 1, or to 0 where there is no point. */
function makeBatch(points) {
  const capacity = CAPACITIES.find((size) => points.length <= size);
  const column = (numbers) => {
    const filled = new Float32Array(capacity);
    filled.set(numbers);
    return np.array(filled).reshape([capacity, 1]);
  };
  return {
    inputs: column(points.map(([x]) => x)),
    targets: column(points.map(([, y]) => y)),
    weights: column(points.map(() => 1 / points.length)),
  };
}

/** Yields `{loss, outputs}` on the points and on the grid, before the first step, after it, and so on without end. */
export function* teach(network, points, grid) {
  const { step, pull, start, rates } = network;
  const batch = makeBatch(points);
  const inputs = np.array(Float32Array.from(grid)).reshape([grid.length, 1]);
  let layers = tree.ref(start);
  try {
    for (;;) {
      const given = [layers, tree.ref(start), tree.ref(rates), pull.ref, tree.ref(batch), inputs.ref];
      const [loss, outputs, moved] = step(...given);
      layers = moved;
      yield { loss: loss.dataSync()[0], outputs: outputs.dataSync() };
    }
  } finally {
    tree.dispose([layers, batch, inputs]);
  }
}
