// How the page talks to the server it came from: with a key where that is asked for, kept here and nowhere else.

let key = null;

export function useKey(given) {
  key = given;
}

export const hasKey = () => key !== null;

export class Refused extends Error {
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
    throw new Refused(0, { message: "the server does not answer", remedy: "See whether it still runs, then try again." });
  }
  const said = reply.status === 204 ? null : await reply.json().catch(() => null);
  if (reply.ok) return said;
  throw new Refused(reply.status, said?.error ?? { message: `the server said ${reply.status}`, remedy: "Try again later." });
}
