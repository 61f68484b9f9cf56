// Arrays as the pages hold them, in text.

import { numpy as np } from "@jax-js/jax";

/** The bytes of a text in base64. */
export const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

/** An array from `{shape, values}`, its float32 numbers in base64, little-endian. */
export const decode = ({ shape, values }) => np.array(new Float32Array(bytes(values).buffer)).reshape(shape);

export const decodeAll = (layers) => layers.map(({ kernel, bias }) => ({ kernel: decode(kernel), bias: decode(bias) }));
