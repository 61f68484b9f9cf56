// Uses the page of characters in Chromium: `node browser_draw.mjs characters.html [FOLDER for screenshots]`.

import assert from "node:assert/strict";
import { atAllSizes, browse, settled } from "./browser.mjs";

const RING = Array.from({ length: 25 }, (_, at) => [0.5 + 0.3 * Math.sin(at / 4), 0.5 - 0.3 * Math.cos(at / 4)]);
const CROSS = [[[0.2, 0.2], [0.8, 0.8]], [[0.8, 0.2], [0.2, 0.8]]];
const TEST = 5; // the place of the cell with the test drawing

const told = (page) => page.locator("#told").textContent();
const shares = async (page, column) =>
  (await page.locator(`#answers td:nth-child(${column})`).allTextContents()).map((text) => Number(text.replace("%", "")));
const inductive = (page) => shares(page, 2);
const transductive = (page) => shares(page, 3);
const best = (numbers) => numbers.indexOf(Math.max(...numbers));
const pad = (page, index) => page.locator(".pad").nth(index);
const ink = (page, index) => pad(page, index).locator(".strokes").getAttribute("d");
const inBatch = (page) => page.locator("#batch .seen").evaluateAll((paths) => paths.map((path) => path.getAttribute("d")));
const setStep = (page, step) => page.locator("#steps").fill(String(step));

/** Draws strokes in a cell, in parts of its side. */
async function draw(page, index, strokes) {
  await pad(page, index).scrollIntoViewIfNeeded();
  const box = await pad(page, index).boundingBox();
  const at = ([x, y]) => [box.x + x * box.width, box.y + y * box.height];
  for (const [first, ...others] of strokes) {
    await page.mouse.move(...at(first));
    await page.mouse.down();
    for (const point of others) await page.mouse.move(...at(point), { steps: 3 });
    await page.mouse.up();
  }
  await settled(page);
}

await browse(async ({ check, open, folder }) => {
  const page = await open();

  await check("there is an answer before anyone draws, in both ways, after each step", async () => {
    for (const answers of [await inductive(page), await transductive(page)]) {
      const sum = answers.reduce((total, share) => total + share);
      assert(Math.abs(sum - 100) <= 3, `${answers}`);
      assert(Math.max(...answers) > 50, `${answers}`);
    }
    assert.match(await told(page), /^Answers after 1 step: \d \(inductive\), \d \(transductive\). It is 1/);
    const after = await inductive(page);
    await setStep(page, 0);
    assert.notDeepEqual(await inductive(page), after);
    await page.locator("#steps").press("ArrowRight");
    assert.deepEqual(await inductive(page), after);
  });

  await check("another of the last five is tested at a click, and most are told right", async () => {
    let right = 0;
    for (let index = 0; index < 5; index++) {
      await page.locator("#batch button").nth(index).click();
      await settled(page);
      assert.match(await told(page), new RegExp(`It is ${index + 1}, `));
      right += (best(await inductive(page)) === index) + (best(await transductive(page)) === index);
    }
    assert(right >= 7, `${right} of 10`);
  });

  await check("a drawing in a cell takes the place of Omniglot's, a second stroke joins it, and answers change", async () => {
    const before = [await inductive(page), await transductive(page)];
    await draw(page, 1, CROSS.slice(0, 1));
    const first = await ink(page, 1);
    assert(first);
    assert.equal(await pad(page, 1).locator(".scan").getAttribute("d"), "");
    await draw(page, 1, CROSS.slice(1));
    assert((await ink(page, 1)).startsWith(first) && (await ink(page, 1)).length > first.length);
    assert.notDeepEqual([await inductive(page), await transductive(page)], before);
  });

  await check("answers are grey while a stroke is drawn, and wait for its end", async () => {
    const box = await pad(page, TEST).boundingBox();
    await page.mouse.move(box.x + 20, box.y + 20);
    await page.mouse.down();
    await page.mouse.move(box.x + 60, box.y + 90, { steps: 5 });
    await page.waitForTimeout(500);
    assert.equal(await page.evaluate(() => document.body.ariaBusy), "true");
    assert(Number(await page.locator("#answers td").first().evaluate((cell) => getComputedStyle(cell).opacity)) < 1);
    await page.mouse.up();
    await settled(page);
    assert.equal(Number(await page.locator("#answers td").first().evaluate((cell) => getComputedStyle(cell).opacity)), 1);
  });

  await check("characters of one's own are learned and told apart; test drawings join the batch", async () => {
    await page.locator("#clear").click();
    await settled(page);
    assert.match(await told(page), /^Draw in 1, 2, 3, 4, 5, Test\./);
    const own = [[RING], CROSS, [[[0.5, 0.1], [0.5, 0.9]]], [[[0.2, 0.3], [0.8, 0.3], [0.5, 0.8]]], [[[0.2, 0.2], [0.2, 0.8], [0.8, 0.8]]]];
    for (const [index, strokes] of own.entries()) await draw(page, index, strokes);
    assert.match(await told(page), /^Draw in Test\./);
    const before = await inBatch(page);
    await draw(page, TEST, [RING.map(([x, y]) => [0.9 * x + 0.1, 0.9 * y])]);
    const after = await inBatch(page);
    assert.deepEqual(after.slice(0, 4), before.slice(1));
    assert.notEqual(after[4], before[4]);
    assert.equal(best(await inductive(page)), 0);
    assert.match(await told(page), /^Answers after 1 step: 1 \(inductive\), \d \(transductive\)\.$/);
  });

  await check("one character five times spoils the transductive answer, and not the inductive one", async () => {
    for (let time = 0; time < 5; time++) {
      await page.getByRole("button", { name: "Clear Test" }).click();
      await draw(page, TEST, [RING.map(([x, y]) => [x, 0.5 + (0.9 + 0.05 * time) * (y - 0.5)])]);
      assert.equal(best(await inductive(page)), 0);
    }
    const together = await page.locator("#batch span").allTextContents();
    assert(together.filter((answer) => answer === "→ 1").length < 4, `${together}`);
  });

  await check("what the network sees, and another five, by keys", async () => {
    assert.equal(await pad(page, 0).locator(".seen").isVisible(), false);
    await page.locator("#seen").focus();
    await page.keyboard.press(" ");
    assert.equal(await pad(page, 0).locator(".seen").isVisible(), true);
    await page.locator("#another").focus();
    await page.keyboard.press("Enter");
    await settled(page);
    assert.equal(await ink(page, 0), "");
    assert.match(await told(page), /It is 2, /);
    await page.getByRole("button", { name: "Clear 3", exact: true }).focus();
    await page.keyboard.press("Enter");
    await settled(page);
    assert.equal(await told(page), "Draw in 3.");
    assert.deepEqual(await page.locator("#answers td").allTextContents(), Array(10).fill("–"));
  });

  await atAllSizes({ check, open, folder }, async (fresh, { touch, shoot }) => {
    if (touch) {
      await pad(fresh, TEST).tap();
      await settled(fresh);
    } else await draw(fresh, TEST, CROSS);
    assert(await ink(fresh, TEST));
    await shoot("drawn", { fullPage: true });
  });
});
