// Drawings, and how the network sees them: as Omniglot is read by `load_omniglot(resample="nearest")`, with ink 1.
// A raster is a Uint8Array of SIDE x SIDE pixels, row by row, 1 for ink. Strokes are `[[[x, y], ...], ...]` in pixels.

export const SIDE = 105; // of Omniglot's drawings
export const SEEN = 28; // of the network's images
export const LINE = 5; // width of a line, as in Omniglot
const EXTENT = 68; // the longer side of a drawing: the median of Omniglot's
const MIDDLE = 50.5; // that of a pixel which the network sees, or it would see no dot

/** The raster of bytes that have a bit for each pixel. */
export const unpack = (bytes) => Uint8Array.from({ length: SIDE * SIDE }, (_, at) => (bytes[at >> 3] >> (7 - (at & 7))) & 1);

/** The pixels that the network sees: the nearest to the middle of each of theirs. */
export function shrink(raster) {
  const from = (at) => Math.floor(((at + 0.5) * SIDE) / SEEN);
  return Float32Array.from({ length: SEEN * SEEN }, (_, at) => raster[from(Math.floor(at / SEEN)) * SIDE + from(at % SEEN)]);
}

/** Strokes moved to the middle, as large as Omniglot's drawings mostly are. */
export function centre(strokes) {
  const [low, high] = [Math.min, Math.max].map((most) => [0, 1].map((axis) => most(...strokes.flat().map((point) => point[axis]))));
  const factor = EXTENT / Math.max(high[0] - low[0], high[1] - low[1], LINE);
  return strokes.map((stroke) => stroke.map((point) => point.map((value, axis) => MIDDLE + factor * (value - (low[axis] + high[axis]) / 2))));
}

/** How far a point is from the line between two others. */
function distance([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const along = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1);
  const at = Math.min(Math.max(along, 0), 1);
  return Math.hypot(x - ax - at * dx, y - ay - at * dy);
}

/** The raster of strokes, with a round pen. */
export function rasterise(strokes) {
  const raster = new Uint8Array(SIDE * SIDE);
  const range = (first, second) => [
    Math.max(0, Math.floor(Math.min(first, second) - LINE)),
    Math.min(SIDE - 1, Math.ceil(Math.max(first, second) + LINE)),
  ];
  for (const stroke of strokes)
    stroke.forEach((end, index) => {
      const begin = stroke[Math.max(0, index - 1)];
      const [[left, right], [top, bottom]] = [range(begin[0], end[0]), range(begin[1], end[1])];
      for (let y = top; y <= bottom; y++)
        for (let x = left; x <= right; x++)
          if (distance([x + 0.5, y + 0.5], begin, end) <= LINE / 2) raster[y * SIDE + x] = 1;
    });
  return raster;
}

/** The ink of a square raster, as the path of an SVG. */
export function outline(raster) {
  const side = Math.sqrt(raster.length);
  let path = "";
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++) {
      const from = x;
      while (x < side && raster[y * side + x]) x++;
      if (x > from) path += `M${from},${y}h${x - from}v1h${from - x}z`;
    }
  return path;
}

/** A drawing by hand. */
export const drawn = (strokes) => ({ strokes, pixels: shrink(rasterise(centre(strokes))) });

/** A drawing of Omniglot, which is one of `character`. */
export const scanned = (bytes, character) => {
  const raster = unpack(bytes);
  return { scan: outline(raster), pixels: shrink(raster), character };
};
