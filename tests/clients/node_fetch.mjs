// Node's own fetch: node node_fetch.mjs URL prints the answer.
const answer = await fetch(process.argv[2]);
console.log(await answer.text());
