// What the node says: documents on request, and one stream.

/** A document, or an error whose message says what was wrong. */
export async function get(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" }, signal: AbortSignal.timeout(10000) });
  const text = await answer.text();
  let body = null;
  try { body = JSON.parse(text); } catch { /* Not every refusal is a document. */ }
  if (!answer.ok) throw new Error(body?.problem ?? `${answer.status}: ${text.trim().slice(0, 200)}`);
  return body;
}

/** Listens to the stream; the browser comes back by itself and says where it was. */
export function listen({ overview, event, resync, state }) {
  const stream = new EventSource("/api/v1/stream");
  const heard = (tell) => (message) => { state(true); tell(JSON.parse(message.data)); };
  stream.addEventListener("hello", heard(() => {}));
  stream.addEventListener("overview", heard(overview));
  stream.addEventListener("event", heard(event));
  stream.addEventListener("resync", heard(resync));
  stream.onerror = () => {
    state(false);
    // The browser gives up where it was refused; the node may have room or be back later.
    if (stream.readyState === EventSource.CLOSED) {
      setTimeout(() => listen({ overview, event, resync, state }), 5000);
    }
  };
}
