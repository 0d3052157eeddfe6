/** One tab's socket, as the worker has it: answers its commands as the gateway would, by the one connection of all. */
import { GatewayError, toGatewayError } from "./errors.js";
import type { Request } from "./line.js";
import type { Beginning, Positions } from "./positions.js";
import type { Registry } from "./registry.js";
import { type FromTab, type FromWorker, MOST_OUTSTANDING } from "./shared_protocol.js";
import type { Answered, Recipient } from "./strand.js";
import { type CommandFrame, type Gap, type Message, type ServerFrame, present } from "./wire.js";

/** What the tabs of one connection have in common. */
export interface SharedParts {
  readonly registry: Registry;
  readonly request: Request;
  /** Presents a credential on the connection of all. */
  readonly authenticate: (token: string) => Promise<ServerFrame>;
  /** Whose a membership of a group is, by `stream/group`. */
  readonly members: Map<string, Tab>;
}

export class Tab {
  heardAt = Date.now();
  #parts: SharedParts | null = null;
  #outstanding = 0;
  readonly #subscriptions = new Map<string, TabSubscription>();
  /** `consume`s that await their answers, by `stream/group`. */
  readonly #joining = new Map<string, Promise<ServerFrame>>();
  #tokens: { resolve: (token: string) => void; reject: (error: GatewayError) => void }[] = [];

  constructor(
    private readonly port: MessagePort,
    private readonly gone: () => void,
  ) {
    port.onmessage = ({ data }: MessageEvent<FromTab>) => this.#heard(data);
  }

  /** The connection stands: the tab may begin. */
  welcome(frame: ServerFrame, parts: SharedParts): void {
    this.#parts = parts;
    this.tell({ ...frame, authenticated: true });
  }

  tell(frame: ServerFrame): void {
    this.#post(JSON.stringify(frame));
    this.#outstanding += 1;
    if (this.#outstanding > MOST_OUTSTANDING) this.close(4408, "the tab takes its messages too slowly");
  }

  /** Asks the tab for a token. */
  token(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#tokens.push({ resolve, reject });
      this.#post({ type: "wanted" });
    });
  }

  close(code: number, reason: string): void {
    this.#post({ type: "closed", code, reason });
    this.leave();
  }

  /** The tab has gone, or is to think so. */
  leave(): void {
    const parts = this.#parts;
    this.#parts = null;
    this.port.onmessage = null;
    this.port.close();
    const error = new GatewayError("unavailable", "the tab that was asked for a token has gone");
    for (const { reject } of this.#tokens.splice(0)) reject(error);
    for (const subscription of this.#subscriptions.values()) void parts?.registry.remove(subscription).catch(() => undefined);
    this.#subscriptions.clear();
    if (parts !== null) {
      for (const [key, tab] of [...parts.members]) if (tab === this) this.#giveBack(parts, key);
    }
    this.gone();
  }

  #giveBack(parts: SharedParts, key: string): void {
    const joining = this.#joining.get(key);
    if (joining !== undefined) {
      // It may be a member in a moment: then there is something to give back.
      this.#joining.delete(key);
      joining.then(
        () => this.#giveBack(parts, key),
        (thrown) => (isLate(thrown) ? this.#giveBack(parts, key) : parts.members.delete(key)),
      );
      return;
    }
    parts.members.delete(key);
    const slash = key.indexOf("/");
    parts.request({ op: "release", stream: key.slice(0, slash), group: key.slice(slash + 1) }).catch(() => undefined);
  }

  #post(said: FromWorker): void {
    this.port.postMessage(said);
  }

  #heard(said: FromTab): void {
    this.heardAt = Date.now();
    if (typeof said === "string") void this.#answer(JSON.parse(said) as CommandFrame);
    else if (said.type === "close") this.leave();
    else if (said.type === "taken") this.#outstanding -= said.count;
    else if (said.type === "token") this.#tokens.shift()?.resolve(said.token);
    else if (said.type === "no-token") this.#tokens.shift()?.reject(new GatewayError("unauthenticated", said.reason));
  }

  async #answer({ ref, ...command }: CommandFrame): Promise<void> {
    const reply = (frame: ServerFrame): void => {
      if (this.#parts !== null && ref !== undefined) this.tell({ ...frame, ...present("ref", ref) });
    };
    try {
      await this.#carryOut(command as CommandFrame, reply);
    } catch (thrown) {
      const { code, reason } = toGatewayError(thrown, "internal");
      if (this.#parts !== null) this.tell({ op: "error", code, reason, fatal: false, ref: (ref ?? null) as string | null });
    }
  }

  async #carryOut(command: CommandFrame, reply: (frame: ServerFrame) => void): Promise<void> {
    const parts = this.#parts;
    if (parts === null) throw new GatewayError("unavailable", "not connected");
    const key = `${String(command["stream"])}/${String(command["group"])}`;
    switch (command.op) {
      case "ping":
        reply({ op: "pong" });
        return;
      case "auth":
        reply(await parts.authenticate(String(command["token"])));
        return;
      case "subscribe":
        await this.#subscribe(parts, command, reply);
        return;
      case "unsubscribe": {
        const filter = String(command["filter"]);
        const subscription = this.#subscriptions.get(filter);
        if (subscription === undefined) throw new GatewayError("not_found", `'${filter}' is not subscribed to`);
        this.#subscriptions.delete(filter);
        await parts.registry.remove(subscription);
        reply({ op: "unsubscribed", filter });
        return;
      }
      case "consume":
        await this.#consume(parts, key, command, reply);
        return;
      case "release":
        try {
          reply(await parts.request(command));
        } finally {
          parts.members.delete(key);
        }
        return;
      default:
        reply(await parts.request(command));
    }
  }

  async #consume(parts: SharedParts, key: string, command: CommandFrame, reply: (frame: ServerFrame) => void): Promise<void> {
    const holder = parts.members.get(key);
    if ((holder ?? this) !== this) throw new GatewayError("conflict", `another tab consumes from '${key}'`);
    // Before the answer: for the gateway two tabs that ask in one moment are one member.
    parts.members.set(key, this);
    const joining = parts.request(command, reply);
    this.#joining.set(key, joining);
    try {
      await joining;
    } catch (thrown) {
      // Where the answer is only late, deliveries come behind it.
      if (holder === undefined && !isLate(thrown)) parts.members.delete(key);
      throw thrown;
    } finally {
      this.#joining.delete(key);
    }
  }

  async #subscribe(parts: SharedParts, command: CommandFrame, reply: (frame: ServerFrame) => void): Promise<void> {
    const filter = String(command["filter"]);
    const earlier = this.#subscriptions.get(filter);
    const subscription = new TabSubscription(filter, this, ({ positions, recovered }) => {
      // The earlier one has told all up to here.
      if (earlier !== undefined) earlier.replaced = true;
      reply({ op: "subscribed", filter, positions, recovered });
    });
    this.#subscriptions.set(filter, subscription);
    const beginning = { ...present("from", command["from"]), ...present("resume", command["resume"]) } as Beginning;
    try {
      await parts.registry.add(subscription, present("overflow", command["overflow"]), beginning);
    } catch (thrown) {
      await parts.registry.remove(subscription).catch(() => undefined);
      if (this.#subscriptions.get(filter) === subscription) {
        if (earlier === undefined) this.#subscriptions.delete(filter);
        else this.#subscriptions.set(filter, earlier);
      }
      throw thrown;
    }
    if (earlier !== undefined) await parts.registry.remove(earlier);
  }
}

function isLate(thrown: unknown): boolean {
  return toGatewayError(thrown, "internal").code === "timeout";
}

/** One filter of one tab; messages and gaps are here the frames that they came in. */
class TabSubscription implements Recipient {
  replaced = false;
  #begun = false;

  constructor(
    readonly filter: string,
    private readonly tab: Tab,
    private readonly confirmed: (answer: Answered) => void,
  ) {}

  begin(_positions: Positions | null, answer: Answered): void {
    if (this.#begun) return;
    this.#begun = true;
    this.confirmed(answer);
  }

  offer(message: Message): void {
    this.#tell({ ...(message as unknown as ServerFrame), filter: this.filter });
  }

  catchUp(): void {
    this.#tell({ op: "caught_up", filter: this.filter });
  }

  tell(gap: Gap): void {
    this.#tell({ op: "gap", ...gap });
  }

  end(): void {
    this.replaced = true;
  }

  #tell(frame: ServerFrame): void {
    if (!this.replaced) this.tab.tell(frame);
  }
}
