// Node's resolvers: node lookup.mjs lookup|resolve NAME... prints each address of each name, as NAME ADDRESS. `lookup` is
// the C library's, `resolve` asks the name server itself (c-ares), and knows no search domains.
import dns from "node:dns/promises";

const [how, ...names] = process.argv.slice(2);
const none = (error) => (["ENODATA", "ENOTFOUND"].includes(error.code) ? [] : Promise.reject(error));
for (const name of names) {
  const found =
    how === "lookup"
      ? (await dns.lookup(name, { all: true }).catch(none)).map((each) => each.address)
      : (await Promise.all([dns.resolve4(name).catch(none), dns.resolve6(name).catch(none)])).flat();
  for (const address of found) console.log(name, address);
}
