// What the page of characters does: it keeps the drawings, has the network taught, and shows its answers.

import { tree } from "@jax-js/jax";
import { makeAnswers } from "./answers.js";
import { bytes } from "./arrays.js";
import { makeDrawable, makePicture } from "./cell.js";
import { adapt, inductive, makeNetwork, transductive } from "./characters.js";
import { drawn, scanned } from "./drawing.js";
import { add, element } from "./svg.js";
import { data, find, inSteps, keepUp, makeSlider, pause, prepare } from "./start.js";

const QUIET = 250; // milliseconds after a stroke in which another may begin

const sets = data.sets.map(({ support, query }, set) => {
  const scan = (drawings) => drawings.map((text, index) => scanned(bytes(text), `${set}, ${index}`));
  return { support: scan(support), query: scan(query) };
});
const ways = sets[0].support.length;

const state = {
  set: 0, // the set of Omniglot that was last taken
  cells: sets[0].support, // the five drawings, null for none
  tests: sets[0].query, // the last five test drawings
  testing: 0, // which of them is in the cell, null for none
  step: 1, // what the slider says
  answers: [], // {inductive, transductive} after each step: probabilities, of the one that is tested and of all tests
  waiting: true, // whether those are of other drawings
};
let [drawing, quietFrom] = [false, 0];

const slide = makeSlider(data.steps, (step) => {
  state.step = step;
  show();
});
const answers = makeAnswers(find("answers"), ways);
const cells = Array.from({ length: ways + 1 }, (_, index) => makeCell(index));
const batch = state.tests.map((_, index) => makeTest(index));

const inCell = (index) => (index < ways ? state.cells[index] : (state.tests[state.testing] ?? null));

/** A cell to draw in: one of the five, or the last, which has the test drawing. */
function makeCell(index) {
  const name = index < ways ? `${index + 1}` : "Test";
  const cell = element(find("cells"), "div", { className: index < ways ? "cell" : "cell test" });
  const header = element(cell, "header");
  element(header, "span", { textContent: name });
  const clear = element(header, "button", { type: "button", textContent: "Clear", ariaLabel: `Clear ${name}` });
  const svg = add(cell, "svg", { class: "pad", role: "img", "aria-label": `Drawing ${name}` });
  const picture = makePicture(svg);
  let before = []; // the strokes that a new one joins
  clear.addEventListener("click", () => change(index, null));
  makeDrawable(svg, {
    onBegin() {
      before = inCell(index)?.strokes ?? [];
      drawing = true;
      learn();
    },
    onStroke(points, ended) {
      const strokes = [...before, points];
      if (!ended) return picture({ strokes });
      drawing = false;
      quietFrom = performance.now() + QUIET;
      change(index, drawn(strokes));
    },
  });
  return (shown) => {
    picture(shown);
    svg.classList.toggle("empty", !shown);
    clear.disabled = !shown;
  };
}

/** A button with one of the last test drawings, which puts it into the cell. */
function makeTest(index) {
  const button = element(find("batch"), "button", { type: "button" });
  const picture = makePicture(add(button, "svg"));
  const answer = element(button, "span");
  button.addEventListener("click", () => {
    state.testing = index;
    learn();
  });
  return (best) => {
    picture(state.tests[index]);
    answer.textContent = best === undefined ? "–" : `→ ${best + 1}`;
    button.ariaPressed = String(state.testing === index);
    button.ariaLabel = `Test drawing ${index + 1}${best === undefined ? "" : `, taken for ${best + 1}`}`;
  };
}

/** Another drawing in a cell, or none (null). A test drawing that is begun takes the place of the oldest. */
function change(index, made) {
  if (index < ways) state.cells = state.cells.with(index, made);
  else if (!made) state.testing = null;
  else if (inCell(index)?.strokes) state.tests = state.tests.with(state.testing, made);
  else {
    state.tests = [...state.tests.slice(1), made];
    state.testing = state.tests.length - 1;
  }
  learn();
}

const softmax = (logits) => {
  const powers = logits.map((logit) => Math.exp(logit - Math.max(...logits)));
  return powers.map((power) => power / powers.reduce((sum, other) => sum + other));
};
const best = (numbers) => numbers.indexOf(Math.max(...numbers));

/** What is missing, or what the answers are, in words. */
function inWords(answer) {
  const missing = state.cells.flatMap((cell, index) => (cell ? [] : [`${index + 1}`]));
  if (state.testing === null) missing.push("Test");
  if (missing.length) return `Draw in ${missing.join(", ")}.`;
  if (!answer) return "";
  const { character } = state.tests[state.testing];
  const truth = character ? state.cells.findIndex((cell) => cell.character === character) : -1;
  const told = truth < 0 ? "" : ` It is ${truth + 1}, drawn by somebody else.`;
  const alone = best(answer.inductive) + 1;
  const together = best(answer.transductive[state.testing]) + 1;
  return `Answers ${inSteps(state.step)}: ${alone} (inductive), ${together} (transductive).${told}`;
}

function show() {
  const answer = state.answers[state.step];
  cells.forEach((cell, index) => cell(inCell(index)));
  batch.forEach((test, index) => test(answer && best(answer.transductive[index])));
  answers({ cells: state.cells, inductive: answer?.inductive, transductive: answer?.transductive[state.testing] });
  slide(state.step);
  find("told").textContent = inWords(state.waiting ? null : answer);
  document.body.classList.toggle("waiting", state.waiting);
}

const ready = prepare().then(() => makeNetwork(data.network));
let lesson = { cells: null, layers: [], steps: null }; // of these five: the network after each step so far, and the next

/** The network after so many steps on these five. */
function taught(network, cells, step) {
  if (lesson.cells !== cells) {
    lesson.steps?.return();
    tree.dispose(lesson.layers);
    lesson = { cells, layers: [], steps: adapt(network, cells.map(({ pixels }) => pixels)) };
  }
  return (lesson.layers[step] ??= lesson.steps.next().value.layers);
}

/** What the network answers, in both ways. */
function ask(layers, { cells, tests, testing }) {
  const [support, queries] = [cells, tests].map((drawings) => drawings.map(({ pixels }) => pixels));
  return {
    inductive: softmax(inductive(layers, support, queries[testing])),
    transductive: transductive(layers, queries).map(softmax),
  };
}

const keepLearning = keepUp(async (isStale) => {
  const network = await ready;
  while (drawing || performance.now() < quietFrom) await pause(30);
  const given = { ...state };
  const found = [];
  const complete = given.testing !== null && given.cells.every(Boolean);
  for (let step = 0; complete && step <= data.steps; step++) {
    if (isStale()) return;
    found.push(ask(taught(network, given.cells, step), given));
    if (step >= state.step) {
      Object.assign(state, { answers: found, waiting: false });
      show();
    }
    await pause();
  }
  if (isStale()) return;
  Object.assign(state, { answers: found, waiting: false });
  show();
});

/** Has the network taught the five drawings, and asked, once no stroke is being drawn; what was answered is grey. */
function learn() {
  state.waiting = true;
  show();
  keepLearning();
}

/** Another set of Omniglot: five characters, and a test drawing of each. */
function takeAnother() {
  state.set = (state.set + 1) % sets.length;
  Object.assign(state, { cells: sets[state.set].support, tests: sets[state.set].query, testing: state.set % ways });
  learn();
}

function clearAll() {
  Object.assign(state, { cells: state.cells.map(() => null), testing: null });
  learn();
}

find("another").addEventListener("click", takeAnother);
find("clear").addEventListener("click", clearAll);
find("seen").addEventListener("change", ({ target }) => find("cells").classList.toggle("seeing", target.checked));
learn();
