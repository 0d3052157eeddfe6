// Rewrites package-lock.json without the URLs of funding pages: a lock file holds versions and hashes,
// and the check for host names in lock files is then a search for "://" without exceptions.
import { readFileSync, writeFileSync } from "node:fs";

const path = new URL("../package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(path, "utf8"));
for (const entry of Object.values(lock.packages)) {
  delete entry.funding;
}
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
