// The setting of the hosted endpoints in ComfyUI's page: node endpoints.mjs URL CHROMIUM PLAYWRIGHT_FOLDER
//
// Reports, as JSON, its value when the page opens and when it was switched off, what the page then says and ComfyUI has
// stored, and the errors of the page. It is switched on again at the end.
import { withPage } from "./browser.mjs";

const [url, executablePath, modules] = process.argv.slice(2);
const ID = "FooocusStages.Serve.Endpoints";

const report = await withPage({ url, executablePath, modules, renderer: "classic" }, async ({ page, errors }) => {
  errors.splice(0);  // of the page's own start
  const set = (value) => page.evaluate(([id, one]) => window.app.extensionManager.setting.set(id, one), [ID, value]);
  const texts = () => page.locator(".p-toast-detail").allTextContents();
  const before = await page.evaluate((id) => window.app.extensionManager.setting.get(id), ID);
  const greeted = await texts();
  await set("off");
  await page.locator(".p-toast-detail").first().waitFor();
  const said = await texts();
  const stored = await (await fetch(`${url}/settings/${ID}`)).json();
  await set(before);
  return { before, greeted, said, stored, errors };
});
process.stdout.write(JSON.stringify(report));
