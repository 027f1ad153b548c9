// Uses the server's page as a person does: node page.mjs URL CHROMIUM MODULES
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const [url, executablePath, modules] = process.argv.slice(2);
const { chromium } = createRequire(path.join(path.resolve(modules), "x.js"))("playwright-core");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  const problems = [];
  const elsewhere = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("request", (request) => /^https?:/.test(request.url()) && !request.url().startsWith(url) && elsewhere.push(request.url()));
  await page.goto(url);
  await page.waitForFunction(() => document.getElementById("overview").textContent.includes("workers"));
  const endpoints = await page.locator("#endpoint option").allTextContents();
  assert.equal(endpoints.length, 4);

  const fill = (text) => page.locator("textarea[name=prompt]").fill(text);
  const latest = page.locator("#requests li").first();
  await fill("steps 60");
  await page.getByRole("button", { name: "Run" }).click();
  await latest.locator("progress").waitFor();
  await latest.locator("img[alt=preview]").waitFor();
  await latest.getByRole("button", { name: "Open as workflow" }).waitFor();
  assert.ok((await latest.locator("a img").getAttribute("src")).startsWith(url));
  assert.ok((await latest.locator("pre").textContent()).includes("steps 60"));
  const download = page.waitForEvent("download");
  await latest.getByRole("button", { name: "Open as workflow" }).click();
  assert.ok((await download).suggestedFilename().endsWith(".json"));

  await fill("steps 500");
  await page.getByRole("button", { name: "Run" }).click();
  await page.locator("#requests li").nth(1).waitFor();
  await latest.getByRole("button", { name: "Cancel" }).click();
  await latest.locator(".error").waitFor();
  assert.ok((await latest.locator(".error").textContent()).includes("cancelled"));

  await page.reload();
  await page.locator("#requests li").nth(1).waitFor();
  await page.locator("#endpoint").selectOption("fal-ai/fooocus/upscale-or-vary");
  await page.locator("input[name=uov_image_url]").waitFor();
  assert.deepEqual(elsewhere, []);
  assert.deepEqual(problems.filter((text) => !text.includes("image")), []);
  console.log("the page works");
} finally {
  await browser.close();
}
