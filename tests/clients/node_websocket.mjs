// Node's own WebSocket: node node_websocket.mjs URL prints the first message that comes back.
const socket = new WebSocket(process.argv[2]);
socket.onopen = () => socket.send("hello");
socket.onerror = () => process.exit(1);
socket.onmessage = (message) => {
  console.log(message.data);
  socket.close();
};
