// node-hl7-server as a receiver: node server.cjs PORT LAST; prints MSH-10 of each message, and ends after LAST.
const { Server } = require("node-hl7-server");

const [port, last] = process.argv.slice(2);
new Server({ bindAddress: "127.0.0.1" }).createInbound({ port: Number(port) }, async (req, res) => {
  const id = req.getMessage().get("MSH.10").toString();
  console.log(id);
  await res.sendResponse("AA");
  if (id === last) setTimeout(() => process.exit(0), 200);
});
setTimeout(() => process.exit(1), 30000);
