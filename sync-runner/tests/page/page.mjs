// The status page of a real runner in a real browser, clicked as a person would. Told by one argument, as JSON:
//   url        the page
//   expects    what it is to say: "Live", or the setting of what is away
//   token      admin.token
//   replay     a dead letter whose row is fine by now
//   discard    another one, whose row is not; beside the two there are more letters than the page shows at first
//   shots      a directory for pictures of the page; none when it is not said
// Needs node_modules of package.json where SYNC_PAGE_MODULES says.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const required = createRequire(`${process.env.SYNC_PAGE_MODULES}/`);
const { chromium } = required("playwright-core");
const axe = readFileSync(required.resolve("axe-core/axe.min.js"), "utf8");
const { url, expects, token, replay, discard, shots } = JSON.parse(process.argv[2]);
const WIDTHS = expects === "Live" ? [320, 390, 768, 1440] : [320, 1440];

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
  await page.waitForFunction(text => document.body.innerText.includes(text), expects);
  if (expects === "postgres.url") {
    const told = (await page.locator("main").innerText()).split("cannot connect").length - 1;
    assert.equal(told, 1, "a database that is away is told of once");
  }
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

// The page's letters, from its beginning on.
const letters = page => page.locator("[data-letter]").evaluateAll(rows => rows.map(row => row.dataset.letter));

async function decide() {
  const { page, done } = await opened("light");
  const first = 50;
  await page.waitForSelector("[data-letter]");
  assert.equal((await letters(page)).length, first);
  await button(page, "Show more letters").click();
  // The focus goes on to the first that was not there.
  await page.waitForFunction(first => document.querySelectorAll("[data-letter]")[first]?.contains(document.activeElement), first);
  const all = await letters(page);

  // Decided about elsewhere, a letter leaves the page wherever it is.
  const elsewhere = all.findLast(letter => ![replay, discard].includes(Number(letter)));
  assert.ok(all.indexOf(elsewhere) >= first);
  const headers = { authorization: `Bearer ${token}` };
  assert.equal((await fetch(`${url}api/dead-letters/${elsewhere}/discard`, { method: "POST", headers })).status, 200);
  await gone(page, elsewhere);

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

  // One that fails again has another number, which the page tells and shows instead.
  await button(page, `Replay dead letter ${discard}`).click();
  await page.waitForFunction(() => / is now dead letter \d+: /.test(document.getElementById("said").textContent));
  const [, was, anew] = /^Dead letter (\d+) is now dead letter (\d+): /.exec(await page.locator("#said").textContent());
  assert.equal(Number(was), discard);
  await page.waitForSelector(`[data-letter="${anew}"]`);
  await gone(page, discard);
  await accessible(page, "failed again");

  // By keyboard alone, with the token that was shown before.
  await button(page, `Discard dead letter ${anew}`).focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("#confirm:visible");
  await accessible(page, "discarding");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator(`[data-letter="${anew}"]`).count(), 1, "it was kept");
  await button(page, `Discard dead letter ${anew}`).focus();
  await page.keyboard.press("Enter");
  await button(page, "Discard it").focus();
  await page.keyboard.press("Enter");
  await gone(page, anew);
  await page.waitForFunction(left => document.getElementById("letters").textContent.includes(`${left} dead letters`), all.length - 3);
  await done();
}

await look("light");
await look("dark");
if (replay) await decide();
await browser.close();
console.log("the page is as it should be");
