// Requests to the server that the page came from. The API key, if the server needs one, is kept in this module only.

let key = null;

export function useKey(given) {
  key = given;
}

export const hasKey = () => key !== null;

export class ServerError extends Error {
  constructor(status, { message, remedy }) {
    super(message);
    Object.assign(this, { status, remedy });
  }
}

export async function call(method, path, body, headers = {}) {
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let reply;
  try {
    const signal = AbortSignal.timeout(30_000);
    reply = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body), cache: "no-store" });
  } catch {
    throw new ServerError(0, { message: "the server does not respond", remedy: "Check that it is running, then try again." });
  }
  const content = await reply.json().catch(() => null);
  if (reply.ok) return content;
  throw new ServerError(reply.status, content?.error ?? { message: `the server responded with status ${reply.status}`, remedy: "Try again later." });
}
