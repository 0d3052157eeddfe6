import type { WebSocketConstructor, WebSocketLike } from "./connection.js";
import { Credentials, type Token } from "./credentials.js";
import { ALIVE_EVERY, type FromTab, type FromWorker, type OpenRequest, TAKEN_EVERY } from "./shared_protocol.js";
import { toGatewayError } from "./errors.js";

/** What this library needs of a `SharedWorker`. */
export interface SharedWorkerLike {
  readonly port: { postMessage(message: unknown, transfer: MessagePort[]): void };
}

/** The worker that has the socket, and who may share it. */
export interface SharedSocketOptions {
  readonly worker: SharedWorkerLike;
  /** Tabs share a socket only where this is the same: the user, where a browser may have several. Default "". */
  readonly identity?: string;
}

/** A WebSocket class whose sockets are the worker's, one for all tabs; it asks tabs for `token` where it needs one. */
export function sharedSocketClass(
  { worker, identity = "" }: SharedSocketOptions,
  token: Token | undefined,
  timeout: number,
): WebSocketConstructor {
  return class implements WebSocketLike {
    readyState = 1;
    readonly bufferedAmount = 0;
    onmessage: WebSocketLike["onmessage"] = null;
    onclose: WebSocketLike["onclose"] = null;
    onerror: WebSocketLike["onerror"] = null;
    readonly #port: MessagePort;
    readonly #credentials = new Credentials(token, timeout);
    readonly #alive: ReturnType<typeof setInterval>;
    readonly #hidden = (): void => this.#end(1001, "the page was left");
    #taken = 0;

    constructor(url: string) {
      const { port1, port2 } = new MessageChannel();
      this.#port = port1;
      port1.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#heard(data);
      const request: OpenRequest = { url, identity, token: token !== undefined };
      worker.port.postMessage(request, [port2]);
      this.#alive = setInterval(() => this.#post({ type: "alive" }), ALIVE_EVERY);
      // One that is only put aside comes back by `pageshow`, and with it its connection.
      globalThis.addEventListener?.("pagehide", this.#hidden);
    }

    send(data: string): void {
      this.#post(data);
    }

    close(): void {
      this.#leave();
    }

    #heard(said: FromWorker): void {
      if (typeof said === "string") {
        this.#taken += 1;
        if (this.#taken === TAKEN_EVERY) {
          this.#post({ type: "taken", count: this.#taken });
          this.#taken = 0;
        }
        this.onmessage?.({ data: said });
      } else if (said.type === "closed") {
        this.#end(said.code, said.reason);
      } else {
        void this.#giveToken();
      }
    }

    async #giveToken(): Promise<void> {
      try {
        this.#post({ type: "token", token: (await this.#credentials.get()) ?? "" });
      } catch (thrown) {
        this.#post({ type: "no-token", reason: toGatewayError(thrown, "unauthenticated").reason });
      }
    }

    #end(code: number, reason: string): void {
      if (this.readyState !== 1) return;
      this.#leave();
      this.onclose?.({ code, reason });
    }

    #leave(): void {
      if (this.readyState !== 1) return;
      this.#post({ type: "close" });
      this.readyState = 3;
      clearInterval(this.#alive);
      globalThis.removeEventListener?.("pagehide", this.#hidden);
      this.#port.close();
    }

    #post(said: FromTab): void {
      if (this.readyState === 1) this.#port.postMessage(said);
    }
  };
}
