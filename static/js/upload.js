// A file is sent with its progress shown; it can be dropped onto the form. Without this script the
// form does the same, slower to look at.
"use strict";

for (const form of document.querySelectorAll("form[data-upload]")) {
  const input = form.querySelector("input[type=file]");
  const problem = form.querySelector("[data-upload-problem]");
  const shown = form.querySelector("[data-upload-progress]");
  const bar = shown.querySelector("progress");
  const percent = shown.querySelector("[data-upload-percent]");
  const button = form.querySelector("button[type=submit]");

  const complain = (text) => {
    problem.textContent = text;
    problem.hidden = !text;
  };

  const setSending = (isSending) => {
    shown.hidden = !isSending;
    button.disabled = isSending;
    input.disabled = isSending;
  };

  const showShare = (share) => {
    bar.value = Math.floor(100 * share);
    percent.textContent = String(bar.value);
  };

  const send = () => {
    const [file] = input.files;
    if (!file) return;
    if (file.size > Number(form.dataset.mostBytes)) {
      complain(problem.dataset.tooLarge);
      return;
    }
    complain("");
    const body = new FormData(form);
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    // Refusals come as plain text.
    request.setRequestHeader("HX-Request", "true");
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) showShare(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      if (request.status < 400) {
        window.location.assign(request.responseURL);
        return;
      }
      setSending(false);
      const isText = request.getResponseHeader("Content-Type")?.startsWith("text/plain");
      complain(isText ? request.responseText : problem.dataset.unanswered);
    });
    request.addEventListener("error", () => {
      setSending(false);
      complain(problem.dataset.unanswered);
    });
    request.addEventListener("abort", () => setSending(false));
    shown.querySelector("[data-upload-stop]").onclick = () => request.abort();
    showShare(0);
    setSending(true);
    request.send(body);
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  for (const name of ["dragenter", "dragover"]) {
    form.addEventListener(name, (event) => {
      event.preventDefault();
      form.dataset.isOver = "";
    });
  }
  form.addEventListener("dragleave", (event) => {
    if (!form.contains(event.relatedTarget)) delete form.dataset.isOver;
  });
  form.addEventListener("drop", (event) => {
    event.preventDefault();
    delete form.dataset.isOver;
    if (button.disabled || !event.dataTransfer.files.length) return;
    input.files = event.dataTransfer.files;
    send();
  });
}
