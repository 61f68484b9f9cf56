// The few things that plots, pictures and tables are made of.

const NAMESPACE = "http://www.w3.org/2000/svg";

/** Sets attributes; those that are null go. */
export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null) node.removeAttribute(name);
    else node.setAttribute(name, value);
  }
  return node;
}

/** A new element in its parent. */
export const add = (parent, name, attributes = {}) =>
  set(parent.appendChild(document.createElementNS(NAMESPACE, name)), attributes);

/** A new element of HTML in its parent. */
export const element = (parent, name, properties = {}) =>
  parent.appendChild(Object.assign(document.createElement(name), properties));

/** So many children of one kind in a group; those that are there already stay the same nodes. */
export function keep(group, name, count) {
  while (group.children.length > count) group.lastChild.remove();
  while (group.children.length < count) add(group, name);
  return [...group.children];
}

/** From numbers to pixels, with the way back as `scale.invert`. */
export function makeScale([low, high], [first, last]) {
  const factor = (last - first) / (high - low);
  return Object.assign((value) => first + (value - low) * factor, { invert: (pixel) => low + (pixel - first) / factor });
}

/** Round numbers in a range, about `count` of them. */
export function ticks([low, high], count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((multiple) => multiple * power >= rough);
  const from = Math.ceil(low / step - 1e-9);
  const numbers = Array.from({ length: Math.floor(high / step + 1e-9) - from + 1 }, (_, index) => (from + index) * step);
  return numbers.map((number) => Number(number.toPrecision(12)));
}

/** A path through points in pixels; it breaks where a number is not finite, and stays near the picture. */
export function path(points) {
  let pen = "M";
  return points
    .map(([x, y]) => {
      if (!Number.isFinite(y)) {
        pen = "M";
        return "";
      }
      const command = `${pen}${x.toFixed(1)},${Math.min(Math.max(y, -1e4), 1e4).toFixed(1)}`;
      pen = "L";
      return command;
    })
    .join("");
}
