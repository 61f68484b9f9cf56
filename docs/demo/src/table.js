// The table: which line is whose, whether it is shown, and the loss of each network.

import { element } from "./svg.js";

/** A mean squared error in three digits. */
function number(value) {
  if (value === undefined) return "–";
  if (!Number.isFinite(value)) return "diverged";
  if (value >= 1e5 || (value < 1e-3 && value !== 0)) return value.toExponential(1);
  return value < 1000 ? value.toPrecision(3) : value.toFixed(0);
}

/** The rows in a `<tbody>`; `onShow(index, shown)` when a network is shown or hidden. */
export function makeTable(body, networks, onShow) {
  const rows = networks.map(({ label, note }, index) => {
    const row = element(body, "tr");
    const name = element(element(row, "th", { scope: "row" }), "label", { title: note });
    const box = element(name, "input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => onShow(index, box.checked));
    name.insertAdjacentHTML("beforeend", `<svg viewBox="0 0 32 8"><path class="line series-${index}" d="M0,4H32"/></svg>`);
    element(name, "span", { textContent: label });
    return [element(row, "td"), element(row, "td", { className: "sines" })];
  });

  /** Shows the errors of each network; the smallest of a column stands out, if there is one to compare with. */
  function draw({ onPoints, onSine }) {
    [onPoints, onSine].forEach((values, column) => {
      const best = Math.min(...values.filter(Number.isFinite));
      rows.forEach((cells, index) => {
        cells[column].textContent = number(values[index]);
        cells[column].classList.toggle("best", rows.length > 1 && values[index] === best);
      });
    });
  }

  return { draw };
}
