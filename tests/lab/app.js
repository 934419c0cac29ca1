// SPDX-License-Identifier: BSD-3-Clause
// An app on Node without packages: node app.js PORT
//
//   /            a page whose parts are a style sheet, a script, an image, a stream of events, a
//                posted body and a WebSocket; it reports what it got to /report, which is printed
//   /events      three events (SSE), then silence
//   /echo        the body, as it comes, and its length in a trailer
//   /ws          a WebSocket that sends each short message back
//   /tick?n=...  an answer of its own for each number
'use strict';
const crypto = require('node:crypto');
const http = require('node:http');

const PAGE = `<!doctype html><title>loading</title>
<link rel="stylesheet" href="style.css"><img id="image" src="image.svg">
<script src="script.js"></script>`;

const SCRIPT = `addEventListener('load', async () => {
  const found = {secure: isSecureContext, protocol: performance.getEntriesByType('navigation')[0].nextHopProtocol};
  found.style = getComputedStyle(document.body).backgroundColor;
  found.image = document.getElementById('image').naturalWidth;
  found.echo = await (await fetch('/echo', {method: 'POST', body: 'x'.repeat(300000)})).text()
    .then(text => text.length);
  found.events = await new Promise(done => {
    const events = [], source = new EventSource('/events');
    source.onmessage = event => { if (events.push(event.data) === 3) { source.close(); done(events); } };
  });
  found.socket = await new Promise((done, failed) => {
    const socket = new WebSocket('wss://' + location.host + '/ws');
    socket.onopen = () => socket.send('hello');
    socket.onmessage = event => done(event.data);
    socket.onerror = () => done('failed');
  });
  fetch('/report', {method: 'POST', body: JSON.stringify(found)});
});`;

const FILES = {
  '/': ['text/html', PAGE],
  '/style.css': ['text/css', 'body { background: rgb(1, 2, 3) }'],
  '/script.js': ['text/javascript', SCRIPT],
  '/image.svg': ['image/svg+xml', '<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"/>'],
};

function events(response) {
  let count = 0;
  response.writeHead(200, {'Content-Type': 'text/event-stream'});
  const timer = setInterval(() => {
    response.write(`data: ${++count}\n\n`);
    if (count === 3) clearInterval(timer);
  }, 50);
  response.on('close', () => { clearInterval(timer); console.log('events closed'); });
}

function echo(request, response) {
  let length = 0;
  response.writeHead(200, {Trailer: 'X-Length'});
  request.on('data', piece => {
    length += piece.length;
    if (!response.write(piece)) { request.pause(); response.once('drain', () => request.resume()); }
  });
  request.on('end', () => { response.addTrailers({'X-Length': length}); response.end(); });
}

function report(request, response) {
  let text = '';
  request.on('data', piece => { text += piece; });
  request.on('end', () => { console.log(`report ${text}`); response.end(); });
}

const server = http.createServer((request, response) => {
  const {pathname, searchParams} = new URL(request.url, 'http://app');
  const file = FILES[pathname];

  if (file) response.writeHead(200, {'Content-Type': file[0]}).end(file[1]);
  else if (pathname === '/events') events(response);
  else if (pathname === '/echo') echo(request, response);
  else if (pathname === '/report') report(request, response);
  else if (pathname === '/tick') response.end(`tick ${searchParams.get('n')}`);
  else response.writeHead(404).end();
});

// RFC 6455, of messages up to 125 bytes.
server.on('upgrade', (request, socket) => {
  const accept = crypto.createHash('sha1')
    .update(request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64');

  socket.on('error', () => {});
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.on('data', frame => {
    const length = frame[1] & 127, mask = frame.subarray(2, 6);
    const text = frame.subarray(6, 6 + length).map((byte, i) => byte ^ mask[i % 4]);

    if ((frame[0] & 15) === 8) socket.end();
    else socket.write(Buffer.concat([Buffer.from([0x81, length]), text]));
  });
});

// An idle connection ends soon: the proxy in front must not lose a request to that.
server.keepAliveTimeout = Number(process.env.KEEP_ALIVE_MS || 5000);
server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('serving'));
