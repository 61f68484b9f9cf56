// The table of answers: a row for each character, with how probable it is in both ways.

import { makePicture } from "./cell.js";
import { add, element } from "./svg.js";

/** A bar in a cell of the table; returns what shows a probability, or none (undefined). */
function makeBar(cell) {
  const bar = element(cell, "div", { className: "bar" });
  const line = element(element(bar, "div"), "i");
  const number = element(bar, "span");
  return (probability, isBest) => {
    line.style.width = `${100 * (probability ?? 0)}%`;
    number.textContent = probability === undefined ? "–" : `${(100 * probability).toFixed(0)}%`;
    cell.classList.toggle("best", isBest);
  };
}

/** The rows in a `<tbody>`; returns what shows the characters and their probabilities. */
export function makeAnswers(body, ways) {
  const rows = Array.from({ length: ways }, (_, index) => {
    const row = element(body, "tr");
    const name = element(row, "th", { scope: "row" });
    element(name, "span", { textContent: `${index + 1}` });
    const picture = makePicture(add(name, "svg", { "aria-hidden": "true" }));
    return { picture, bars: [makeBar(element(row, "td")), makeBar(element(row, "td"))] };
  });

  return ({ cells, inductive, transductive }) => {
    [inductive, transductive].forEach((probabilities, column) => {
      const most = probabilities && Math.max(...probabilities);
      rows.forEach(({ bars }, index) => bars[column](probabilities?.[index], Boolean(most) && probabilities[index] === most));
    });
    rows.forEach(({ picture }, index) => picture(cells[index]));
  };
}
