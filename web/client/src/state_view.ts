/**
 * A view of the last values of one filter's topics: made of what a subscription gets, told as changes.
 *
 * Two views, one of which is shown. A snapshot is collected in a draft that nobody sees; when it is whole it takes the
 * place of what is shown in one step. So whoever looks sees a state that there was, never the first half of one
 * (docs/protocol.md, "Keeping a view").
 */
import { GatewayError } from "./errors.js";
import type { Position, Positions } from "./positions.js";
import type { Gap, Message } from "./wire.js";

/** One topic's step from one value to another. */
export interface TopicChange<Data = unknown> {
  readonly topic: string;
  /** The message that was there; null where there was none. */
  readonly old: Message<Data> | null;
  /** The one that is there now; null where there is none any more. */
  readonly new: Message<Data> | null;
  /** How many earlier changes of the topic it stands for besides, which were not taken in time. */
  readonly merged: number;
}

/** `waiting`: for a snapshot to begin. `building`: one is received. `following`: what is shown is whole and goes on. */
type Phase = "waiting" | "building" | "following";

export class StateView {
  #phase: Phase = "waiting";
  #shown = new Map<string, Message>();
  #draft = new Map<string, Message>();
  #positions: Record<string, Position> = {};

  constructor(private readonly maxTopics: number) {}

  /** By topic. It is changed in place. */
  get shown(): ReadonlyMap<string, Message> {
    return this.#shown;
  }

  /** What is shown is as of these. */
  get positions(): Positions {
    return { ...this.#positions };
  }

  /** Whether what is shown goes on, and is not about to be replaced. */
  get following(): boolean {
    return this.#phase === "following";
  }

  /** What comes from here on is a snapshot (`null`), or goes on at `positions`. */
  begin(positions: Positions | null): TopicChange[] {
    if (positions === null) {
      this.#phase = "building";
      this.#draft = new Map();
      return [];
    }
    if (this.#phase !== "following") return [];
    this.#positions = { ...positions };
    // Streams are resumed. What no stream holds may have changed while nobody listened.
    return this.#forget(isLive);
  }

  /**
   * Changes what `message` says; `position` is its place in its stream.
   *
   * @throws GatewayError `too_many`: it would be one topic more than allowed.
   */
  receive(message: Message, position: Position | null): TopicChange[] {
    if (this.#phase === "waiting") return [];
    const following = this.#phase === "following";
    const values = following ? this.#shown : this.#draft;
    const old = values.get(message.topic) ?? null;
    if (message.deleted) values.delete(message.topic);
    else if (old === null && values.size >= this.maxTopics) {
      throw new GatewayError("too_many", `the state has more than maxTopics=${this.maxTopics} topics`);
    } else values.set(message.topic, message);
    if (!following) return [];
    if (message.stream !== undefined && position !== null) this.#positions[message.stream] = position;
    if (message.deleted && old === null) return [];
    return [change(message.topic, old, message.deleted ? null : message)];
  }

  /** All has come that there is: the draft, if there is one, is whole now, as of `begun`. */
  catchUp(begun: Positions | undefined): TopicChange[] {
    if (this.#phase !== "building") return [];
    const before = this.#shown;
    this.#shown = this.#draft;
    this.#draft = new Map();
    this.#positions = { ...begun };
    this.#phase = "following";
    const changes: TopicChange[] = [];
    for (const [topic, message] of this.#shown) {
      const old = before.get(topic) ?? null;
      if (old !== null && isSame(old, message)) this.#shown.set(topic, old);
      else changes.push(change(topic, old, message));
    }
    for (const [topic, old] of before) if (!this.#shown.has(topic)) changes.push(change(topic, old, null));
    return changes;
  }

  /** Something will not come. With `anew` the snapshot is to be asked for again, without positions. */
  passGap({ reason, filter, stream }: Gap): { readonly changes: TopicChange[]; readonly anew: boolean } {
    // After a reconnect, `begin` has said it all.
    if (this.#phase === "waiting" || reason === "reconnect") return { changes: [], anew: false };
    // It concerns live topics, whose values nobody can be asked for.
    if (filter === undefined) return { changes: this.#forget(isLive), anew: false };
    if (reason === "epoch" && this.#phase === "building") {
      // The stream's last values follow in this same snapshot, those of its new life.
      return { changes: this.#forget((message) => message.stream === stream), anew: false };
    }
    this.#phase = "waiting";
    this.#draft = new Map();
    return { changes: [], anew: true };
  }

  #forget(which: (message: Message) => boolean): TopicChange[] {
    const following = this.#phase === "following";
    const values = following ? this.#shown : this.#draft;
    const gone = [...values.values()].filter(which);
    for (const { topic } of gone) values.delete(topic);
    return following ? gone.map((message) => change(message.topic, message, null)) : [];
  }
}

/** Changes that wait for their reader: one for each topic, however slow it is. */
export class PendingChanges {
  readonly #changes = new Map<string, TopicChange>();

  /** A topic keeps its turn when it changes again; one that came and went meanwhile is not told. */
  add(next: TopicChange): void {
    const earlier = this.#changes.get(next.topic);
    if (earlier === undefined) this.#changes.set(next.topic, next);
    else if (earlier.old === null && next.new === null) this.#changes.delete(next.topic);
    else this.#changes.set(next.topic, { ...next, old: earlier.old, merged: earlier.merged + 1 });
  }

  /** The one that waits longest. */
  take(): TopicChange | undefined {
    const [first] = this.#changes.values();
    if (first !== undefined) this.#changes.delete(first.topic);
    return first;
  }
}

function change(topic: string, old: Message | null, next: Message | null): TopicChange {
  return { topic, old, new: next, merged: 0 };
}

function isLive({ stream }: Message): boolean {
  return stream === undefined;
}

/** Whether both are one publication, whichever way it came: it has a place in a stream, and an offset is given once. */
function isSame(old: Message, message: Message): boolean {
  return (
    old.stream === message.stream &&
    old.offset === message.offset &&
    old.id === message.id &&
    old.time === message.time &&
    old.contentType === message.contentType &&
    JSON.stringify([old.data, old.headers]) === JSON.stringify([message.data, message.headers])
  );
}
