// Node's own HTTP server, writing events by hand as most of its users do. The first argument is the
// number of an open socket.
import { createServer } from "node:http";

createServer((request, response) => {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  let number = 0;
  const timer = setInterval(() => {
    if (number === 3) {
      clearInterval(timer);
      response.end();
      return;
    }
    response.write(`event: tick\nid: ${number}\ndata: {"n":${number}}\n\n`);
    number += 1;
  }, 50);
  request.on("close", () => clearInterval(timer));
}).listen({ fd: Number(process.argv[2]) });
