// What both pages are made with: elements by name, jax-js ready for use, and work that follows what the reader does.

import { defaultDevice, init } from "@jax-js/jax";

export const find = (id) => document.getElementById(id);
export const data = JSON.parse(find("data").textContent);
export const pause = (milliseconds = 0) => new Promise((resolve) => setTimeout(resolve, milliseconds));
export const inSteps = (step) => `after ${step} step${step === 1 ? "" : "s"}`;

/** Makes jax-js ready. */
export async function prepare() {
  await init("wasm");
  defaultDevice("wasm");
}

/**
 * A function that does `work(isStale)`, and does it anew if it is called meanwhile. The page is marked as busy for so
 * long, and says so if it cannot do the work.
 */
export function keepUp(work) {
  let [changed, working] = [false, false];
  return async () => {
    changed = true;
    if (working) return;
    working = true;
    document.body.setAttribute("aria-busy", "true");
    try {
      while (changed) {
        changed = false;
        await work(() => changed);
      }
    } catch (error) {
      find("told").className = "wrong";
      find("told").textContent = `This page cannot compute here: ${error.message}`;
      console.error(error);
    } finally {
      working = false;
      document.body.removeAttribute("aria-busy");
    }
  };
}

/** Makes the slider of `last` steps; `onStep(step)` when it is moved. Returns what shows a step on it. */
export function makeSlider(last, onStep) {
  const slider = find("steps");
  slider.max = last;
  slider.addEventListener("input", () => onStep(slider.valueAsNumber));
  return (step) => {
    slider.value = step;
    slider.setAttribute("aria-valuetext", inSteps(step));
    find("step").textContent = step;
  };
}
