// Node's resolvers: node lookup.mjs lookup|resolve NAME prints each address of the name on a line of its own. `lookup` is
// the C library's, `resolve` asks the name server itself (c-ares), and knows no search domains.
import dns from "node:dns/promises";

const [how, name] = process.argv.slice(2);
const none = (error) => (error.code === "ENODATA" ? [] : Promise.reject(error));
const found =
  how === "lookup"
    ? (await dns.lookup(name, { all: true })).map((each) => each.address)
    : (await Promise.all([dns.resolve4(name).catch(none), dns.resolve6(name).catch(none)])).flat();
if (found.length === 0) process.exit(1);
console.log(found.join("\n"));
