// Makes the templates of the pages of src/: each one HTML file with its style and script inside, which Python fills with
// a title, a text and networks. `node build.mjs FOLDER` writes them elsewhere.

import { readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { build } from "esbuild";

const PAGES = { page: "../../jax_meta/saved/page/template.html", draw: "characters_template.html" };

const here = (path) => new URL(path, import.meta.url);
const read = async (path) => (await readFile(here(path), "utf8")).trim();
const elsewhere = process.argv[2];

const options = { bundle: true, minify: true, write: false, logLevel: "warning", absWorkingDir: here(".").pathname };
const licence = await read("node_modules/@jax-js/jax/LICENSE");

/** One file of a source file and all that it imports. */
async function bundle(path, more = {}) {
  const { outputFiles } = await build({ ...options, ...more, entryPoints: [path] });
  return outputFiles[0].text.trim();
}

for (const [name, place] of Object.entries(PAGES)) {
  const script = await bundle(`src/${name}.js`, { format: "iife", target: "es2022" });
  const inside = {
    STYLE: await bundle(`src/${name}.css`),
    BODY: await read(`src/${name}.html`),
    SCRIPT: `/*! jax-js\n${licence}\n*/\n${script.replaceAll("</script", "<\\/script")}`,
  };
  const shell = await read("src/shell.html");
  const page = shell.replace(/\{\{(STYLE|BODY|SCRIPT)\}\}/g, (_, part) => inside[part]);
  await writeFile(elsewhere ? join(elsewhere, basename(place)) : here(place), `${page}\n`);
}
