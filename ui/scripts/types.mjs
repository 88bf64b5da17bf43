// Writes src/api.types.ts from src/api.schema.json; with --check only says whether it is current.
import { readFileSync, writeFileSync } from "node:fs";

const source = new URL("../src/api.schema.json", import.meta.url);
const target = new URL("../src/api.types.ts", import.meta.url);
const { components } = JSON.parse(readFileSync(source, "utf8"));

function type(form, indent = "  ") {
  if (form.$ref) return form.$ref.split("/").at(-1);
  if (form.enum) return form.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (form.anyOf) return form.anyOf.map((one) => type(one, indent)).join(" | ");
  if (form.type === "array") return `(${type(form.items, indent)})[]`;
  if (form.type === "object") {
    if (form.properties) return record(form, indent);
    return `Record<string, ${type(form.additionalProperties, indent)}>`;
  }
  const plain = { integer: "number", number: "number", string: "string", boolean: "boolean", null: "null" };
  if (!(form.type in plain)) throw new Error(`no TypeScript for ${JSON.stringify(form)}`);
  return plain[form.type];
}

function record(form, indent) {
  const required = new Set(form.required ?? []);
  const lines = Object.entries(form.properties).map(
    ([name, field]) => `${indent}${name}${required.has(name) ? "" : "?"}: ${type(field, `${indent}  `)};`,
  );
  return `{\n${lines.join("\n")}\n${indent.slice(2)}}`;
}

const parts = Object.entries(components.schemas).map(([name, form]) => {
  const comment = form.description ? `/** ${form.description.replace(/\s+/g, " ")} */\n` : "";
  return `${comment}export type ${name} = ${type(form)};\n`;
});
const text = `// Made from api.schema.json by scripts/types.mjs: npm run types.\n\n${parts.join("\n")}`;

if (process.argv.includes("--check")) {
  let present = "";
  try {
    present = readFileSync(target, "utf8");
  } catch {
    // Not there: as good as old.
  }
  if (present !== text) {
    console.error("src/api.types.ts does not follow src/api.schema.json: run `npm run types`.");
    process.exit(1);
  }
} else {
  writeFileSync(target, text);
}
