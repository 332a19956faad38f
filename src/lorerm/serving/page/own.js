// The dialog for a prompt and answers of one's own.

const at = (id) => document.getElementById(id);

// Calls `use` with {prompt, answers} whenever some were given.
export function listenToOwn(use) {
  addAnswer();
  addAnswer();
  at("own-more").addEventListener("click", () => addAnswer().focus());
  at("own-cancel").addEventListener("click", () => at("own").close());
  at("own-form").addEventListener("submit", (event) => {
    const texts = [...at("own-answers").querySelectorAll("textarea")].map((area) => area.value.trim()).filter(Boolean);
    const answers = [...new Set(texts)];
    if (answers.length > 1) return use({ prompt: at("own-prompt").value.trim(), answers });
    event.preventDefault();
    at("own-wrong").textContent = "Write two different answers at least.";
  });
}

export function openOwn() {
  at("own-wrong").textContent = "";
  at("own").showModal();
}

function addAnswer() {
  const number = at("own-answers").querySelectorAll("textarea").length + 1;
  const label = document.createElement("label");
  label.htmlFor = `own-answer-${number}`;
  label.textContent = `Answer ${number}`;
  const area = Object.assign(document.createElement("textarea"), { id: label.htmlFor, rows: 3 });
  at("own-answers").append(label, area);
  return area;
}
