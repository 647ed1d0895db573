// The status page of a real runner in a real browser, clicked as a person would. Told by one argument, as JSON:
//   url        the page
//   expects    what it is to be like: "healthy" or "down"
//   token      admin.token
//   replay     a dead letter whose row is fine by now
//   discard    another one
//   shots      a directory for pictures of the page; none when it is not said
// Needs node_modules of package.json where SYNC_PAGE_MODULES says.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const required = createRequire(`${process.env.SYNC_PAGE_MODULES}/`);
const { chromium } = required("playwright-core");
const axe = readFileSync(required.resolve("axe-core/axe.min.js"), "utf8");
const { url, expects, token, replay, discard, shots } = JSON.parse(process.argv[2]);
const WIDTHS = [320, 390, 768, 1440];

const flags = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"];
const browser = await chromium.launch({ executablePath: process.env.SYNC_PAGE_BROWSER, args: flags.map(flag => `--${flag}`) });

async function opened(colorScheme) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme });
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", error => errors.push(error.message));
  page.on("console", message => { if (/Content Security|Refused to/.test(message.text())) errors.push(message.text()); });
  await page.goto(url);
  await page.waitForFunction(() => document.body.dataset.state === "live");
  return { page, done: async () => { assert.deepEqual(errors, []); await context.close(); } };
}

async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes[0].target}: ${nodes[0].failureSummary}`), [], what);
}

// At every width, in both colour schemes: nothing scrolls sideways, and nobody is shut out.
async function look(scheme) {
  const { page, done } = await opened(scheme);
  const shown = expects === "down" ? "elasticsearch.url" : "Live";
  await page.waitForFunction(text => document.body.textContent.includes(text), shown);
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 900 });
    const sideways = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(sideways <= 0, `at ${width} the page scrolls sideways by ${sideways}`);
    await accessible(page, `${scheme} at ${width}`);
    if (shots) await page.screenshot({ path: `${shots}/${expects}-${scheme}-${width}.png`, fullPage: true });
  }
  await done();
}

const button = (page, name) => page.getByRole("button", { name, exact: true });
const gone = (page, letter) => page.waitForSelector(`[data-letter="${letter}"]`, { state: "detached" });

async function decide() {
  const { page, done } = await opened("light");
  await page.waitForSelector(`[data-letter="${replay}"]`);
  await button(page, `Inspect dead letter ${replay}`).click();
  await page.waitForSelector("#inspect:visible");
  await accessible(page, "inspecting");
  await page.keyboard.press("Escape");

  await button(page, `Replay dead letter ${replay}`).click();
  await page.getByLabel("Admin token").fill("the-token-of-somebody-else");
  await button(page, "Use this token").click();
  await page.waitForSelector("#token-problem:visible");
  assert.equal(await page.getByLabel("Admin token").inputValue(), "", "a wrong token is forgotten");
  await accessible(page, "a wrong token");
  await page.getByLabel("Admin token").fill(token);
  await page.keyboard.press("Enter");
  await gone(page, replay);

  // By keyboard alone, with the token that was shown before.
  await button(page, `Discard dead letter ${discard}`).focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("#confirm:visible");
  await accessible(page, "discarding");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator(`[data-letter="${discard}"]`).count(), 1, "it was kept");
  await button(page, `Discard dead letter ${discard}`).focus();
  await page.keyboard.press("Enter");
  await button(page, "Discard it").focus();
  await page.keyboard.press("Enter");
  await gone(page, discard);
  await page.waitForFunction(() => document.getElementById("letters").textContent.includes("No dead letters"));
  await done();
}

await look("light");
await look("dark");
if (replay) await decide();
await browser.close();
console.log("the page is as it should be");
