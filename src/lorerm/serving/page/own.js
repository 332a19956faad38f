// The dialog for the visitor's own prompt and responses.

const at = (id) => document.getElementById(id);

// Calls `use` with {prompt, responses} when the dialog is confirmed.
export function listenToOwn(use) {
  addResponse();
  addResponse();
  at("own-more").addEventListener("click", () => addResponse().focus());
  at("own-cancel").addEventListener("click", () => at("own").close());
  at("own-form").addEventListener("submit", (event) => {
    const texts = [...at("own-responses").querySelectorAll("textarea")].map((area) => area.value.trim()).filter(Boolean);
    const responses = [...new Set(texts)];
    if (responses.length > 1) return use({ prompt: at("own-prompt").value.trim(), responses });
    event.preventDefault();
    at("own-wrong").textContent = "Write at least two different responses.";
  });
}

export function openOwn() {
  at("own-wrong").textContent = "";
  at("own").showModal();
}

function addResponse() {
  const number = at("own-responses").querySelectorAll("textarea").length + 1;
  const label = document.createElement("label");
  label.htmlFor = `own-response-${number}`;
  label.textContent = `Response ${number}`;
  const area = Object.assign(document.createElement("textarea"), { id: label.htmlFor, rows: 3 });
  at("own-responses").append(label, area);
  return area;
}
