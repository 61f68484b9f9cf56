// Makes jax_meta/saved/page/template.html of src/: one HTML file with its style and script inside, which the Python
// package fills with a title, a text and networks. `node build.mjs FILE` writes elsewhere.

import { readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const here = (path) => new URL(path, import.meta.url);
const read = (path) => readFile(here(path), "utf8");
const elsewhere = process.argv[2];

const options = { bundle: true, minify: true, write: false, logLevel: "warning", absWorkingDir: here(".").pathname };
const script = await build({ ...options, entryPoints: ["src/page.js"], format: "iife", target: "es2022" });
const style = await build({ ...options, entryPoints: ["src/page.css"] });
const licence = (await read("node_modules/@jax-js/jax/LICENSE")).trim();
const inside = {
  STYLE: style.outputFiles[0].text.trim(),
  SCRIPT: `/*! jax-js\n${licence}\n*/\n${script.outputFiles[0].text.trim().replaceAll("</script", "<\\/script")}`,
};
const page = (await read("src/page.html")).replace(/\{\{(STYLE|SCRIPT)\}\}/g, (_, name) => inside[name]);
await writeFile(elsewhere ?? here("../../jax_meta/saved/page/template.html"), page);
