/** A page with every hook, twice where sharing shows. */
import type { Client } from "@fanout-gateway/client";
import { StrictMode, useState } from "react";
import { GatewayProvider, useConnection, useTopic, useTopicState } from "../src/index.js";

interface Order {
  readonly number: number;
}

function Badge() {
  const { state, retryNow } = useConnection();
  return <p id="connection" onClick={retryNow}>{state}</p>;
}

function Orders({ id }: { id: string }) {
  const { messages, latest, status, error } = useTopic<Order>("orders/#", { from: "earliest", limit: 5 });
  return (
    <p id={id}>
      {status} {error?.code} {messages.map(({ data }) => data.number).join(",")} latest {latest?.data.number}
    </p>
  );
}

function Live({ filter }: { filter: string | null }) {
  const { messages, status } = useTopic<Order>(filter);
  return <p id="live">{status} {messages.map(({ data }) => data.number).join(",")}</p>;
}

function Statuses() {
  const { topics, stale } = useTopicState<Order>("orders/+");
  const shown = [...topics.values()].map(({ topic, data }) => `${topic}=${data.number}`).sort();
  return <p id="state">{stale ? "stale" : "current"} {shown.join(" ")}</p>;
}

function Refused() {
  const { status, error } = useTopic("a/#/b");
  return <p id="refused">{status} {error?.code}</p>;
}

export function App({ client }: { client: Client }) {
  const [shown, show] = useState(true);
  return (
    <StrictMode>
      <GatewayProvider client={client}>
        <Badge />
        <Orders id="first" />
        {shown ? <Orders id="second" /> : null}
        <Live filter={shown ? "orders/#" : null} />
        <Statuses />
        <Refused />
        <button onClick={() => show(!shown)}>toggle</button>
      </GatewayProvider>
    </StrictMode>
  );
}

/** The same, with a client that the provider makes and closes. */
export function Owning({ url }: { url: string }) {
  const [shown, show] = useState(true);
  return (
    <StrictMode>
      {shown ? (
        <GatewayProvider url={url}>
          <Badge />
        </GatewayProvider>
      ) : null}
      <button onClick={() => show(false)}>remove</button>
    </StrictMode>
  );
}
