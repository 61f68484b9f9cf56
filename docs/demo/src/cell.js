// A cell to draw in, by mouse, pen or touch.

import { LINE, outline, SEEN, SIDE } from "./drawing.js";
import { add, path, set } from "./svg.js";

/** A line through points; a dot is one, too. */
const trace = (strokes) => strokes.map((stroke) => path(stroke.length > 1 ? stroke : [stroke[0], stroke[0]])).join("");

/** Makes a drawing visible in an `<svg>`; returns what shows one, or none (null). */
export function makePicture(svg) {
  set(svg, { viewBox: `0 0 ${SIDE} ${SIDE}` });
  const scan = add(svg, "path", { class: "scan" });
  const strokes = add(svg, "path", { class: "strokes", "stroke-width": LINE });
  const seen = add(svg, "path", { class: "seen" });
  return (drawing) => {
    set(scan, { d: drawing?.scan ?? "" });
    set(strokes, { d: trace(drawing?.strokes ?? []) });
    const pixels = drawing?.pixels ? outline(drawing.pixels) : ""; // none while it is being drawn
    set(seen, { d: pixels, transform: `scale(${SIDE / SEEN})` });
  };
}

/** Lets the reader draw in an `<svg>`: `onBegin()`, then `onStroke(points, ended)` with each move and at the end. */
export function makeDrawable(svg, { onBegin, onStroke }) {
  let points = null;
  const place = ({ clientX, clientY }) => {
    const box = svg.getBoundingClientRect();
    const within = (value) => Math.min(Math.max(value, 0), SIDE);
    return [within(((clientX - box.left) / box.width) * SIDE), within(((clientY - box.top) / box.height) * SIDE)];
  };
  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    svg.setPointerCapture(event.pointerId);
    points = [place(event)];
    onBegin();
    onStroke(points, false);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!points || !event.isPrimary) return;
    points.push(place(event));
    onStroke(points, false);
  });
  for (const name of ["pointerup", "pointercancel"])
    svg.addEventListener(name, (event) => {
      if (!points || !event.isPrimary) return;
      const stroke = points;
      points = null;
      onStroke(stroke, true);
    });
}
