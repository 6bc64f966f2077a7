// Node's http module: node node_http.mjs URL prints the answer.
import http from "node:http";

http.get(process.argv[2], (answer) => answer.pipe(process.stdout));
