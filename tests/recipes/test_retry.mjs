// Does the client survive what networks do?

import assert from "node:assert";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { overTcp, overUdp } from "./client.mjs";
import { echod } from "./peer.mjs";

let server;
before(async () => {
  server = await echod("--config", fileURLToPath(new URL("retry.toml", import.meta.url)));
});
after(() => server.stop());

test("a reset", async () => {
  const message = randomBytes(10_000);
  const { received, attempt } = await overTcp(server.addresses.resets, message, { timeout: 60_000 });
  assert.deepStrictEqual(received, message);
  // Three times 4 KiB hold it.
  assert.strictEqual(attempt, 3);
});

test("a silence", async () => {
  const message = randomBytes(10_000);
  const { received, attempt } = await overTcp(server.addresses.stalls, message);
  assert.deepStrictEqual(received, message);
  assert(attempt >= 3);
});

test("a loss", async () => {
  for (let number = 0; number < 10; number++) {
    const message = Buffer.from(`number ${number}`);
    const { received } = await overUdp(server.addresses.loses, message, { timeout: 200, attempts: 100 });
    assert.deepStrictEqual(received, message);
  }
});
