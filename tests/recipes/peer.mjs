// A peer for the tests of a client in Node: echod on ports that nobody else has.
//
//     const server = await echod("--listen", "tcp://127.0.0.1:0?name=it");
//     net.connect(server.addresses.it) ... server.stop();

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** Gives the address of each listener of TCP or UDP by its name, as `net.connect` takes it. */
export async function echod(...options) {
  const daemon = spawn("echod", ["--announce", "--log-level", "error", ...options], { stdio: ["ignore", "pipe", "inherit"] });
  const addresses = {};
  // A line for each socket. Their end says that echod serves.
  for await (const line of createInterface({ input: daemon.stdout })) {
    const { name, protocol, address } = JSON.parse(line);
    const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(address) ?? [];
    if (protocol === "tcp" || protocol === "udp") addresses[name] = { host, port: Number(port) };
  }
  return { addresses, stop: () => daemon.kill() };
}
