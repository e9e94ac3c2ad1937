// A server of server-sent events as one writes it by hand in Node. It resumes, and cuts each connection after two
// events, in the middle of the next one. It prints its port.
import { createServer } from "node:http";

const LAST = 5;

const server = createServer((request, response) => {
  if (request.url === "/late-error") {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write("data: 1\n\n");
    response.end('event: error\ndata: {"message":"out of tokens"}\n\n');
    return;
  }
  const next = Number(request.headers["last-event-id"] ?? 0) + 1;
  if (next > LAST) {
    response.writeHead(204).end();
    return;
  }
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  response.write(": welcome\r\n\r\nretry: 0\r\n\r\n");
  for (let n = next; n < next + 2 && n <= LAST; n++) {
    response.write(`id: ${n}\r\nevent: tick\r\ndata: {"n":${n}}\r\n\r\n`);
  }
  response.write(`id: ${next + 2}\r\ndata: {"n":`, () => request.socket.destroy());
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
