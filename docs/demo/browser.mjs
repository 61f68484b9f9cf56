// Opens a page from the disk in Chromium and uses it: `node browser.mjs sine.html [FOLDER for screenshots]`.
// CHROMIUM names the browser; default: chromium.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const [file, folder] = process.argv.slice(2);
const address = pathToFileURL(resolve(file)).href;
const executablePath = execFileSync("which", [process.env.CHROMIUM ?? "chromium"], { encoding: "utf8" }).trim();
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const complaints = [];

async function open({ width = 1280, height = 900, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, ...options });
  const page = await context.newPage();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (request.url() !== address && !request.url().startsWith("data:")) complaints.push(`asked for ${request.url()}`);
  });
  await page.goto(address);
  await settled(page);
  return page;
}

/** Waits until all steps are computed. */
async function settled(page) {
  await page.waitForFunction(() => !document.body.ariaBusy, null, { timeout: 60_000 });
}

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

async function check(name, act) {
  await act();
  assert.deepEqual(complaints, [], name);
  console.log(`ok: ${name}`);
}

async function checkAll() {
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

  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 390]) {
      await check(`${width} pixels, ${colorScheme}`, async () => {
        const touch = width < 500;
        const fresh = await open({ width, height: 850, colorScheme, hasTouch: touch, isMobile: touch, deviceScaleFactor: touch ? 2 : 1 });
        const across = await fresh.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert(across[0] <= across[1], `${across[0]} wide in ${across[1]}`);
        if (folder) await fresh.screenshot({ path: `${folder}/${width}-${colorScheme}.png`, fullPage: true });
        const count = await points(fresh);
        await clickPlane(fresh, 0.55, 0.15, { touch });
        assert.equal(await points(fresh), count + 1);
        if (folder && sines) {
          await fresh.locator("#one-sided").click();
          await fresh.locator("#truth").check();
          await setStep(fresh, 10);
          await settled(fresh);
          await fresh.screenshot({ path: `${folder}/${width}-${colorScheme}-one-sided.png` });
        }
        await fresh.context().close();
      });
    }
  }
}

try {
  await checkAll();
} finally {
  await browser.close();
}
