import { GatewayProvider, useClient, useConnection, useTopic, useTopicState } from "@fanout-gateway/react";
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";

interface Order {
  readonly total: number;
}

function Heading() {
  const { state, retryNow } = useConnection();
  return (
    <h1>
      Orders <small id="state">{state}</small> {state === "reconnecting" && <button onClick={retryNow}>now</button>}
    </h1>
  );
}

function Form() {
  const client = useClient();
  const [told, tell] = useState("");
  const order = async (form: FormData): Promise<void> => {
    try {
      const { id } = await client.publish("orders/eu/created", { total: Number(form.get("total")) });
      tell(`ordered as ${id}`);
    } catch (error) {
      tell(String(error));
    }
  };
  return (
    <form action={order}>
      <label>Total <input name="total" type="number" defaultValue={42} required /></label>
      <button>Order</button> <output>{told}</output>
    </form>
  );
}

function List() {
  const { messages, gap, error } = useTopic<Order>("orders/#", { from: { last: 10 }, limit: 10 });
  return (
    <>
      {error && <p role="alert">{error.message}</p>}
      {gap && <p>Some are missing ({gap.reason}).</p>}
      <ul>{messages.toReversed().map(({ id, topic, data }) => <li key={id}>{topic}: {data.total}</li>)}</ul>
    </>
  );
}

function Latest() {
  const { topics, stale } = useTopicState<Order>("orders/#");
  return <p style={{ opacity: stale ? 0.5 : 1 }}>Topics: {[...topics.keys()].sort().join(", ")}</p>;
}

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <GatewayProvider url="/">
      <Heading />
      <Form />
      <List />
      <Latest />
    </GatewayProvider>
  </StrictMode>,
);
