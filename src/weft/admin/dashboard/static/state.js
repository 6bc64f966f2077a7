// What the page knows: the live picture, answers to questions, who is away. Whoever changes it asks for a new rendering.

export const state = {
  picture: {}, // parts of the live stream, by name
  connected: false,
  since: null, // when the control plane was last heard, milliseconds since the epoch
  away: "", // why it is not heard; empty while it is
  signedOut: false,
  errors: [], // faults of the page itself, shown in its frame
  search: "",
};

let wanted = () => {};
let scheduled = false;

export function onRender(render) {
  wanted = render;
}

// Render soon, once for all that changed meanwhile.
export function changed() {
  if (scheduled) return;
  scheduled = true;
  (document.hidden ? (run) => setTimeout(run, 500) : requestAnimationFrame)(() => {
    scheduled = false;
    wanted();
  });
}

export function fault(error) {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  if (!state.errors.includes(text)) state.errors = [...state.errors.slice(-4), text];
  changed();
}
