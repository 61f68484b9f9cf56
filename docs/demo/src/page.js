// What the page does: it keeps the points and the step that is shown, has the networks taught, and draws.

import { makeErrors } from "./errors.js";
import { makeNetwork, MAX_POINTS, teach } from "./learn.js";
import { makePlane } from "./plane.js";
import * as sines from "./sines.js";
import { data, find, keepUp, makeSlider, pause, prepare } from "./start.js";
import { makeTable } from "./table.js";

const GRID = 201;
const PATIENCE = 16; // milliseconds of computing after which the browser has its turn

const [low, high] = data.xRange;
const grid = Array.from({ length: GRID }, (_, index) => low + ((high - low) * index) / (GRID - 1));

const state = {
  points: data.points, // [[x, y], ...]
  sine: null, // where the points are from, if that is known
  step: Math.min(1, data.steps), // what the slider says
  hidden: new Set(), // networks whose curves are not shown
  traces: data.networks.map(() => []), // {loss, outputs} after each step, by network
};

const plane = makePlane(find("plane"), { ...data, count: data.networks.length, onPoints: changePoints });
const errors = makeErrors(find("errors"), { steps: data.steps, count: data.networks.length });
const table = makeTable(find("losses"), data.networks, (index, shown) => {
  state.hidden[shown ? "delete" : "add"](index);
  draw();
});

const slide = makeSlider(data.steps, showStep);

const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

function draw() {
  const { points, sine, step, hidden, traces } = state;
  const targets = sine && grid.map((x) => sines.at(sine, x));
  const error = ({ outputs }) => mean(targets.map((target, index) => (outputs[index] - target) ** 2));
  const onPoints = traces.map((trace) => (points.length ? trace.map(({ loss }) => loss) : []));
  const onSine = traces.map((trace) => (sine ? trace.map(error) : []));
  const shown = (of) => of.map((values, index) => (hidden.has(index) ? null : values));
  plane.draw({
    points,
    grid,
    outputs: shown(traces.map((trace) => trace[Math.min(step, trace.length - 1)]?.outputs)),
    targets: find("truth").checked ? targets : null,
  });
  errors.draw({ errors: shown(sine ? onSine : onPoints), step });
  table.draw({ onPoints: onPoints.map((of) => of[step]), onSine: onSine.map((of) => of[step]) });
  find("errors-of").textContent = sine ? "Error on the whole sine" : "Error on the points";
  slide(step);
  find("truth").disabled = !sine;
  find("empty").hidden = points.length > 0;
}

const ready = prepare().then(() => data.networks.map(makeNetwork));

/** Teaches the points that are there now; shows each step as soon as the slider's is reached. */
const learn = keepUp(async (isStale) => {
  const lessons = (await ready).map((network) => teach(network, state.points, grid));
  const traces = lessons.map(() => []);
  let turn = performance.now();
  for (let step = 0; step <= data.steps && !(isStale() && step > state.step); step++) {
    lessons.forEach((lesson, index) => traces[index].push(lesson.next().value));
    if (step >= state.step) state.traces = traces;
    if (performance.now() - turn > PATIENCE) {
      if (step >= state.step) draw();
      await pause();
      turn = performance.now();
    }
  }
  lessons.forEach((lesson) => lesson.return());
  state.traces = traces;
  draw();
});

function changePoints(points, told) {
  if (points.length > MAX_POINTS) {
    find("told").textContent = `${MAX_POINTS} points are the most that fit: take one away first.`;
    return;
  }
  state.points = points;
  if (told) find("told").textContent = `${told} ${points.length} points.`;
  draw();
  learn();
}

function changeTask({ sine, points }, told) {
  state.sine = sine;
  changePoints(points, told);
}

function showStep(step) {
  state.step = step;
  draw();
}

let player = null;

/** Moves the slider from 0 to its end, or stops that. */
function play() {
  const stop = () => {
    clearInterval(player);
    player = null;
    find("play").textContent = "Play";
  };
  if (player) return stop();
  if (state.step === data.steps) showStep(0);
  find("play").textContent = "Stop";
  player = setInterval(() => (state.step < data.steps ? showStep(state.step + 1) : stop()), 200);
}

find("play").addEventListener("click", play);
find("clear").addEventListener("click", () => changeTask({ sine: null, points: [] }, "All points taken away."));
find("truth").addEventListener("change", draw);
find("another").addEventListener("click", () => changeTask(sines.draw(), "Another sine."));
find("one-sided").addEventListener("click", () =>
  changeTask(sines.oneSided(state.sine ?? sines.draw().sine), "All points on one side."),
);
for (const node of document.querySelectorAll(".sines")) node.hidden = !data.sines;
new ResizeObserver(() => {
  plane.resize();
  draw();
}).observe(document.body);
if (data.sines) Object.assign(state, sines.first());
draw();
learn();
