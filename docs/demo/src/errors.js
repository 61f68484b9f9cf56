// The error of each network after each step, on a logarithmic axis, with a line where the slider is.

import { add, keep, makeScale, path, set } from "./svg.js";

const MARGIN = { left: 40, right: 10, top: 8, bottom: 34 };
const HEIGHT = 190;

/** The plot in an `<svg>`. */
export function makeErrors(svg, { steps, count }) {
  const clip = add(add(svg, "clipPath", { id: "above" }), "rect");
  const frame = add(svg, "g", { class: "frame" });
  const curves = add(svg, "g", { class: "curves", "clip-path": "url(#above)" });
  const lines = keep(curves, "path", count).map((node, index) => set(node, { class: `line series-${index}` }));
  const marker = add(svg, "line", { class: "marker" });

  /** Shows errors `[network][step]` (null: hidden), and the step. */
  function draw({ errors, step }) {
    const width = svg.clientWidth;
    set(svg, { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT });
    const [bottom, top, right] = [HEIGHT - MARGIN.bottom, MARGIN.top, width - MARGIN.right];
    const found = errors.flatMap((of) => of ?? []).filter((error) => error > 0 && Number.isFinite(error));
    const high = found.length ? Math.ceil(Math.log10(Math.max(...found))) : 1;
    const low = Math.min(Math.max(Math.floor(Math.log10(Math.min(...found, 1e9))), high - 5), high - 2);
    const x = makeScale([0, steps], [MARGIN.left, right]);
    const y = makeScale([low, high], [bottom, top]);
    set(clip, { x: MARGIN.left, y: top, width: right - MARGIN.left, height: bottom - top });
    frame.replaceChildren();
    for (let power = low; power <= high; power++) {
      add(frame, "line", { x1: MARGIN.left, x2: right, y1: y(power), y2: y(power) });
      const label = add(frame, "text", { x: MARGIN.left - 6, y: y(power) + 4, "text-anchor": "end" });
      label.textContent = Math.abs(power) > 4 ? `1e${power}` : Number(`1e${power}`);
    }
    for (let tick = 0; tick <= steps; tick += Math.max(1, Math.round(steps / 8)))
      add(frame, "text", { x: x(tick), y: bottom + 16, "text-anchor": "middle" }).textContent = tick;
    add(frame, "text", { x: (MARGIN.left + right) / 2, y: HEIGHT - 3, "text-anchor": "middle" }).textContent = "steps";
    lines.forEach((node, index) => {
      const points = (errors[index] ?? []).map((error, at) => [x(at), y(Math.log10(Math.max(error, 1e-30)))]);
      set(node, { d: path(points) });
    });
    set(marker, { x1: x(step), x2: x(step), y1: top, y2: bottom });
  }

  return { draw };
}
