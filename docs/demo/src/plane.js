// The plane: points that are put, moved and taken away by mouse, touch or keys, and the curves of the networks.

import { add, keep, makeScale, path, set, ticks } from "./svg.js";

const MARGIN = { left: 34, right: 10, top: 10, bottom: 26 };
const REACH = 18; // pixels from a point within which a finger or a pointer has it
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** The plane in an `<svg>`; `onPoints(points, told)` gets the new points, and what was done in words. */
export function makePlane(svg, { xRange, yRange, count, onPoints }) {
  const clip = add(add(svg, "clipPath", { id: "inside" }), "rect");
  const [frame, truth, curves, halos, dots, cross] = ["frame", "truth", "curves", "halos", "dots", "cross"].map((name) =>
    add(svg, "g", { class: name, "clip-path": name === "frame" ? null : "url(#inside)" }),
  );
  const line = add(truth, "path", { id: "true" });
  const lines = keep(curves, "path", count).map((node, index) => set(node, { class: `line series-${index}` }));
  const hair = add(cross, "path");
  let x, y, width, height;
  let points = [];
  let cursor = [(xRange[0] + xRange[1]) / 2, (yRange[0] + yRange[1]) / 2];
  let held = null;

  function resize() {
    width = svg.clientWidth;
    height = Math.round(Math.min(Math.max(width * 0.6, 250), 440));
    set(svg, { viewBox: `0 0 ${width} ${height}`, height });
    x = makeScale(xRange, [MARGIN.left, width - MARGIN.right]);
    y = makeScale(yRange, [height - MARGIN.bottom, MARGIN.top]);
    set(clip, { x: x(xRange[0]), y: y(yRange[1]), width: x(xRange[1]) - x(xRange[0]), height: y(yRange[0]) - y(yRange[1]) });
    frame.replaceChildren();
    for (const value of ticks(xRange, Math.min(width / 60, 10))) {
      add(frame, "line", { x1: x(value), x2: x(value), y1: y(yRange[0]), y2: y(yRange[1]), class: value ? "" : "zero" });
      add(frame, "text", { x: x(value), y: height - 8, "text-anchor": "middle" }).textContent = value;
    }
    for (const value of ticks(yRange, height / 50)) {
      add(frame, "line", { x1: x(xRange[0]), x2: x(xRange[1]), y1: y(value), y2: y(value), class: value ? "" : "zero" });
      add(frame, "text", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }).textContent = value;
    }
  }

  const curve = (inputs, outputs) => path(inputs.map((input, index) => [x(input), y(outputs[index])]));

  /** Shows points, curves by network (null: hidden) over the inputs `grid`, and the truth (null: not shown). */
  function draw({ points: given, grid, outputs, targets }) {
    points = given;
    set(line, { d: targets ? curve(grid, targets) : "" });
    lines.forEach((node, index) => set(node, { d: outputs[index] ? curve(grid, outputs[index]) : "" }));
    for (const [group, r] of [[halos, REACH], [dots, 5]])
      keep(group, "circle", points.length).forEach((node, index) => {
        const [px, py] = points[index];
        set(node, { cx: x(px), cy: y(py), r, class: index === held?.index ? "held" : "" });
      });
    drawCross();
  }

  function drawCross() {
    const [px, py] = [x(cursor[0]), y(cursor[1])];
    set(hair, { d: `M${px - 12},${py}H${px + 12}M${px},${py - 12}V${py + 12}` });
  }

  const within = (value, [low, high]) => Math.min(Math.max(value, low), high);
  const place = ({ clientX, clientY }) => {
    const box = svg.getBoundingClientRect();
    return [within(x.invert(clientX - box.left), xRange), within(y.invert(clientY - box.top), yRange)];
  };

  /** The index of the point nearest to a place, if it is in reach. */
  function nearest([px, py]) {
    const distances = points.map(([qx, qy]) => Math.hypot(x(px) - x(qx), y(py) - y(qy)));
    const closest = distances.indexOf(Math.min(...distances));
    return distances[closest] <= REACH ? closest : null;
  }

  const words = ([px, py]) => `x ${px.toFixed(2)}, y ${py.toFixed(2)}`;
  const removed = (index) => onPoints(points.toSpliced(index, 1), `Point at ${words(points[index])} taken away.`);

  /** Takes away the point at a place, or puts one there. */
  function toggle(at) {
    const index = nearest(at);
    if (index !== null) removed(index);
    else onPoints([...points, at], `Point put at ${words(at)}.`);
  }

  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const index = nearest(place(event));
    held = { index, from: [event.clientX, event.clientY], moved: false };
    if (index !== null) svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!held) return;
    held.moved ||= Math.hypot(event.clientX - held.from[0], event.clientY - held.from[1]) > 4;
    if (held.moved && held.index !== null) onPoints(points.with(held.index, place(event)), "");
  });
  svg.addEventListener("pointerup", (event) => {
    const { moved = true, index } = held ?? {};
    held = null;
    cursor = place(event);
    if (!moved) toggle(place(event));
    else if (index !== null && index !== undefined) onPoints(points, `Point moved to ${words(points[index])}.`);
  });
  svg.addEventListener("pointercancel", () => (held = null));

  svg.addEventListener("keydown", (event) => {
    const ranges = [xRange, yRange];
    if (event.key in KEYS) {
      const part = event.shiftKey ? 10 : 40;
      cursor = cursor.map((value, axis) => {
        const [low, high] = ranges[axis];
        return within(value + (KEYS[event.key][axis] * (high - low)) / part, ranges[axis]);
      });
      drawCross();
    } else if (event.key === "Enter" || event.key === " ") toggle(cursor);
    else if (event.key === "Delete" || event.key === "Backspace") {
      const index = nearest(cursor);
      if (index !== null) removed(index);
    } else return;
    event.preventDefault();
  });

  resize();
  return { draw, resize };
}
