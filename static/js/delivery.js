// A commit that is sent until it is answered, with the same key: the server stores it once.
// It is kept in this tab meanwhile, so that a reload loses nothing.
import { keep } from "./keep.js";
import { post } from "./post.js";

const LONGEST_WAIT_MS = 20_000;

// Until the network says that it is back, but not for ever: it does not always say so.
function pause(tries) {
  return new Promise((resolve) => {
    const timer = setTimeout(done, Math.min(1000 * 2 ** tries, LONGEST_WAIT_MS));
    function done() {
      clearTimeout(timer);
      window.removeEventListener("online", done);
      resolve();
    }
    window.addEventListener("online", done);
  });
}

const isAnswered = (answer) => answer && answer.status < 500 && answer.status !== 429;

// commit: {url, item, fields}. extra(): what else is sent, but not kept. onWait(): nobody answered.
export async function deliver(commit, extra, onWait) {
  keep("commit", commit);
  for (let tries = 0; ; tries += 1) {
    const answer = await post(commit.url, { ...commit.fields, ...extra() }).catch(() => null);
    if (isAnswered(answer)) return answer;
    onWait();
    await pause(tries);
  }
}
