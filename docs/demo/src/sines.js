// The tasks of `jax_meta.tasks.sinusoid`: ten points of y = a sin(x + b), a from 0.1 to 5, b from 0 to 2π, x from -5 to 5.

const SHOTS = 10;
const uniform = (low, high) => low + (high - low) * Math.random();

export const at = ({ amplitude, phase }, x) => amplitude * Math.sin(x + phase);

const task = (sine, inputs) => ({ sine, points: inputs.map((x) => [x, at(sine, x)]) });
const inputs = (low, high) => Array.from({ length: SHOTS }, () => uniform(low, high));

/** What the page shows before anyone does anything. */
export const first = () =>
  task({ amplitude: 3.5, phase: 0.8 }, [-4.6, -3.9, -2.8, -2.2, -1.1, -0.3, 0.9, 1.9, 3.2, 4.4]);

/** A new sine, and points all over it. */
export const draw = () => task({ amplitude: uniform(0.1, 5), phase: uniform(0, 2 * Math.PI) }, inputs(-5, 5));

/** New points of a sine, all of them to the right of 0. */
export const oneSided = (sine) => task(sine, inputs(0, 5));
