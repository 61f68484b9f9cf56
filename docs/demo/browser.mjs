// What the checks of all pages share: a page from the disk, opened in Chromium, of which nothing may complain, and which
// may ask for nothing. CHROMIUM names the browser; default: chromium.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

/** Waits until all is computed. */
export async function settled(page) {
  await page.waitForFunction(() => !document.body.ariaBusy, null, { timeout: 60_000 });
}

/** Calls `checkAll({check, open, folder})` for the file that the command names; folder is where screenshots go, if any. */
export async function browse(checkAll) {
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

  async function check(name, act) {
    await act();
    assert.deepEqual(complaints, [], name);
    console.log(`ok: ${name}`);
  }

  try {
    await checkAll({ check, open, folder });
  } finally {
    await browser.close();
  }
}

/** Opens the page in both widths and colours, sees that it fits, and uses it: `act(page, {touch, shoot})`. */
export async function atAllSizes({ check, open, folder }, act) {
  for (const colorScheme of ["light", "dark"])
    for (const width of [1280, 390])
      await check(`${width} pixels, ${colorScheme}`, async () => {
        const touch = width < 500;
        const scale = { hasTouch: touch, isMobile: touch, deviceScaleFactor: touch ? 2 : 1 };
        const page = await open({ width, height: 850, colorScheme, ...scale });
        const across = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert(across[0] <= across[1], `${across[0]} wide in ${across[1]}`);
        const shoot = async (name, options) =>
          folder && (await page.screenshot({ path: `${folder}/${[width, colorScheme, name].filter(Boolean).join("-")}.png`, ...options }));
        await shoot("", { fullPage: true });
        await act(page, { touch, shoot });
        await page.context().close();
      });
}
