/** Sending dead letters back, or giving them up: first how many that is. */
import type { JSX } from "preact";
import type { Group } from "../queues/groups.js";
import { Confirm } from "../ui/dialog.js";
import { plural } from "../ui/format.js";
import { type Choice, perform, rehearse } from "./letters.js";

export function Decide(props: {
  group: Group;
  action: "redrive" | "discard";
  choice: Choice;
  onClose: () => void;
  onDone: () => void;
}): JSX.Element {
  const { group, action, choice } = props;
  const back = action === "redrive";
  return (
    <Confirm
      title={back ? "Redrive dead letters?" : "Discard dead letters?"}
      action={back ? "Redrive" : "Discard for good"}
      dangerous={!back}
      onClose={props.onClose}
      rehearse={async (signal) => {
        const many = await rehearse(group, action, choice, signal);
        return back
          ? `${plural(many, "letter")} would be sent back.`
          : `${plural(many, "letter")} would be given up for good.`;
      }}
      perform={async (tell, signal) => {
        const many = await perform(group, action, choice, tell, signal).finally(props.onDone);
        return back ? `${plural(many, "letter")} sent back.` : `${plural(many, "letter")} given up.`;
      }}
    >
      <p>
        {back
          ? `They come to ${group.stream}/${group.name} again, with their first attempt, and to nobody else.`
          : `Nobody gets them any more. Their messages stay in the stream as long as it keeps them.`}
      </p>
    </Confirm>
  );
}
