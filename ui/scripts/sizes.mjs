// Fails the build when the page grows past what it may weigh, or refers to another host.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const folder =
  process.env.HANDFUL_STATIC ?? new URL("../../src/handful/page/static", import.meta.url).pathname;
const limits = { ".js": 250_000, ".css": 60_000 };
const weights = { ".js": 0, ".css": 0 };
const faults = [];

for (const entry of readdirSync(folder, { recursive: true })) {
  const path = join(folder, entry);
  if (!statSync(path).isFile()) continue;
  const ending = path.slice(path.lastIndexOf("."));
  if (ending in weights) weights[ending] += statSync(path).size;
  const text = readFileSync(path, "utf8");
  // Names of XML vocabularies are not addresses: nothing is ever fetched from them.
  const hosts = (text.match(/(https?:)?\/\/[a-z0-9-]+\.[a-z0-9.-]+/gi) ?? []).filter(
    (host) => !host.includes("www.w3.org"),
  );
  if (hosts.length) faults.push(`${entry} names another host: ${hosts[0]}`);
  if (ending === ".html" && /<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=/i.test(text)) {
    faults.push(`${entry} holds inline script or style`);
  }
}
for (const [ending, limit] of Object.entries(limits)) {
  const weight = weights[ending];
  console.log(`${ending}: ${weight} of ${limit} bytes`);
  if (weight > limit) faults.push(`${ending} files weigh ${weight} bytes, over ${limit}`);
}
if (faults.length) {
  console.error(faults.join("\n"));
  process.exit(1);
}
