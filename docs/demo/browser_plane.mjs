// Uses a page of a plane in Chromium: `node browser_plane.mjs sine.html [FOLDER for screenshots]`.

import assert from "node:assert/strict";
import { atAllSizes, browse, settled } from "./browser.mjs";

const curve = (page, index = 0) => page.locator(`#plane .series-${index}`).getAttribute("d");
const points = (page) => page.locator("#plane .dots circle").count();
const losses = async (page) => (await page.locator("#losses td:nth-child(2)").allTextContents()).map(Number);
const setStep = (page, step) => page.locator("#steps").fill(String(step));

async function clickPlane(page, x, y, { touch = false } = {}) {
  const box = await page.locator("#plane").boundingBox();
  const at = [box.x + x * box.width, box.y + y * box.height];
  await (touch ? page.touchscreen.tap(...at) : page.mouse.click(...at));
  await settled(page);
}

await browse(async ({ check, open, folder }) => {
  const page = await open();
  const sines = await page.locator("#another").isVisible();
  if (!sines) await clickPlane(page, 0.3, 0.3);

  await check("the slider bends the curves, and the loss on the points falls", async () => {
    await setStep(page, 0);
    const [before, lossBefore] = [await curve(page), await losses(page)];
    await setStep(page, 10);
    const [after, lossAfter] = [await curve(page), await losses(page)];
    assert(before && after && before !== after);
    lossAfter.forEach((loss, index) => assert(loss < lossBefore[index], `${loss} after ${lossBefore[index]}`));
    await page.locator("#steps").press("ArrowRight");
    assert.equal(await page.locator("#step").textContent(), "11");
  });

  await check("a click puts a point, which changes the curve; a second click takes it away", async () => {
    const [count, before] = [await points(page), await curve(page)];
    await clickPlane(page, 0.52, 0.14);
    assert.equal(await points(page), count + 1);
    assert.notEqual(await curve(page), before);
    await clickPlane(page, 0.52, 0.14);
    assert.equal(await points(page), count);
    assert.equal(await curve(page), before);
  });

  await check("a point is dragged", async () => {
    const [count, before] = [await points(page), await curve(page)];
    const box = await page.locator("#plane .dots circle").first().boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + 20, box.y + 40, { steps: 4 });
    await page.mouse.up();
    await settled(page);
    assert.equal(await points(page), count);
    assert.notEqual(await curve(page), before);
  });

  await check("keys put points and take them away", async () => {
    await page.locator("#clear").click();
    assert.equal(await points(page), 0);
    assert.match((await page.locator("#losses td").first().textContent()) ?? "", /–/);
    await page.locator("#plane").focus();
    for (const key of ["Shift+ArrowRight", "ArrowUp", "Enter"]) await page.keyboard.press(key);
    await settled(page);
    assert.equal(await points(page), 1);
    assert.match((await page.locator("#told").textContent()) ?? "", /Point put at x .*1 points?\./);
    await page.keyboard.press("Delete");
    assert.equal(await points(page), 0);
  });

  if (sines) {
    await check("another sine, its truth on request, and points on one side", async () => {
      assert(await page.locator("#truth").isDisabled());
      await page.locator("#another").click();
      await settled(page);
      assert.equal(await points(page), 10);
      assert.equal(await page.locator("#true").getAttribute("d"), "");
      await page.locator("#truth").check();
      const truth = await page.locator("#true").getAttribute("d");
      assert(truth.length > 100);
      await page.locator("#one-sided").click();
      await settled(page);
      assert.equal(await page.locator("#true").getAttribute("d"), truth);
      const box = await page.locator("#plane").boundingBox();
      const lefts = await page.locator("#plane .dots circle").evaluateAll((dots) => dots.map((dot) => Number(dot.getAttribute("cx"))));
      assert(lefts.every((left) => left >= box.width / 2));
    });
  }

  await check("a hidden network has no curve", async () => {
    if (!sines) await clickPlane(page, 0.3, 0.3);
    await page.locator("#losses input").first().uncheck();
    assert.equal(await curve(page), "");
    await page.locator("#losses input").first().check();
    assert.notEqual(await curve(page), "");
  });

  await check("Play moves the slider to its end", async () => {
    await setStep(page, (await page.locator("#steps").getAttribute("max")) - 2);
    await page.locator("#play").click();
    await page.waitForFunction(() => document.querySelector("#steps").value === document.querySelector("#steps").max);
    await page.waitForFunction(() => document.querySelector("#play").textContent === "Play");
  });

  await atAllSizes({ check, open, folder }, async (fresh, { touch, shoot }) => {
    const count = await points(fresh);
    await clickPlane(fresh, 0.55, 0.15, { touch });
    assert.equal(await points(fresh), count + 1);
    if (!sines) return;
    await fresh.locator("#one-sided").click();
    await fresh.locator("#truth").check();
    await setStep(fresh, 10);
    await settled(fresh);
    await shoot("one-sided");
  });
});
