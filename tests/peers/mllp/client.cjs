// node-hl7-client against a listener: node client.cjs PORT; prints MSA-1 and MSA-2 of each answer.
const { Client, Message } = require("node-hl7-client");

const port = Number(process.argv[2]);
const client = new Client({ host: "127.0.0.1" });
let number = 0;

const outbound = client.createConnection({ port }, async (response) => {
  const message = response.getMessage();
  console.log(message.get("MSA.1").toString(), message.get("MSA.2").toString());
  if (number < 5) await next();
  else { await outbound.close(); process.exit(0); }
});

async function next() {
  number += 1;
  const message = new Message({ messageHeader: {
    msh_9_1: "ADT", msh_9_2: "A01", msh_9_3: "ADT_A01", msh_10: `N${number}`, msh_11_1: "P",
  } });
  message.set("MSH.3", "EHR"); message.set("MSH.4", "WEST");
  const pid = message.addSegment("PID");
  pid.set("3", `${number}^^^WEST^MR`); pid.set("5", "Zqvale^Ada");
  await outbound.sendMessage(message);
}

outbound.on("connect", next);
setTimeout(() => { console.log("no answer in time"); process.exit(1); }, 10000);
