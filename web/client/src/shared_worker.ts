/** The program of the `SharedWorker`: give its address to `new SharedWorker`, and the worker to `Client` as `shared`. */
import { SharedConnections } from "./shared_connections.js";
import type { OpenRequest } from "./shared_protocol.js";

const connections = new SharedConnections();

(globalThis as { onconnect?: (event: MessageEvent) => void }).onconnect = ({ ports }) => {
  for (const page of ports) {
    page.onmessage = ({ data, ports: [port] }: MessageEvent<OpenRequest>) => {
      if (port !== undefined) connections.open(data, port);
    };
  }
};
