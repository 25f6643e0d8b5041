// Judges every webhook of a run with a library that is not ours: what verify_webhooks.py does, in JavaScript.
//
// Reads files of JSON lines, each {"secret", "received_at", "headers": [[name, value], ...], "body": base64}, and exits
// with 1 if `standardwebhooks` refuses one. The library's five minutes of tolerance are counted from `received_at`.

const fs = require("node:fs");
const readline = require("node:readline");
const { Webhook } = require("standardwebhooks");

const SIGNED = ["webhook-id", "webhook-timestamp", "webhook-signature"];

// Why this webhook is refused, or null.
function refusal(line) {
  const record = JSON.parse(line);
  const names = record.headers.map(([name]) => name.toLowerCase());
  for (const name of SIGNED) {
    const count = names.filter((given) => given === name).length;
    if (count !== 1) return `${name} came ${count} times`;
  }
  Date.now = () => record.received_at * 1000;
  try {
    new Webhook(record.secret).verify(Buffer.from(record.body, "base64"), Object.fromEntries(record.headers));
  } catch (error) {
    // Whatever the library throws, it did not accept.
    return String(error);
  }
  return null;
}

async function main(paths) {
  let judged = 0;
  let refused = 0;
  for (const path of paths) {
    const lines = readline.createInterface({ input: fs.createReadStream(path), crlfDelay: Infinity });
    let number = 0;
    for await (const line of lines) {
      number += 1;
      judged += 1;
      const why = refusal(line);
      if (why !== null) {
        refused += 1;
        console.error(`${path}:${number}: ${why}`);
      }
    }
  }
  console.log(`standardwebhooks (JavaScript) judged ${judged} webhooks, refused ${refused}`);
  process.exitCode = refused || !judged ? 1 : 0;
}

main(process.argv.slice(2));
