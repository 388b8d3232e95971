// The client under test, as small as a client can be that does not give up: it has a message echoed.

import dgram from "node:dgram";
import { once } from "node:events";
import net from "node:net";

/** Goes on where a connection broke off or fell silent. Gives the echo, and the number of connections that it took. */
export async function overTcp(address, message, { timeout = 1000, attempts = 10 } = {}) {
  let received = Buffer.alloc(0);
  for (let attempt = 1; attempt <= attempts; attempt++) {
    const connection = net.connect({ ...address, timeout });
    connection.on("timeout", () => connection.destroy(new Error("silent")));
    connection.write(message.subarray(received.length));
    try {
      for await (const part of connection) {
        received = Buffer.concat([received, part]);
        if (received.length === message.length) return { received, attempt };
      }
    } catch {
      // Reset or silent: what is missing is for the next connection.
    }
  }
  throw new Error(`${received.length} of ${message.length} bytes after ${attempts} connections`);
}

/** Sends again what is not answered. Gives the echo, and how often it was sent. */
export async function overUdp({ host, port }, message, { timeout = 1000, attempts = 10 } = {}) {
  const peer = dgram.createSocket(net.isIPv6(host) ? "udp6" : "udp4");
  try {
    for (let attempt = 1; attempt <= attempts; attempt++) {
      peer.send(message, port, host);
      const answer = await once(peer, "message", { signal: AbortSignal.timeout(timeout) }).catch(() => null);
      if (answer) return { received: answer[0], attempt };
    }
  } finally {
    peer.close();
  }
  throw new Error(`no answer to ${attempts} datagrams`);
}
