// Sends random queries to both servers, which have the same records, and fails on each difference without a known reason.
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";

const [site, reference, seed, count] = process.argv.slice(2);
const { things } = JSON.parse(readFileSync("db.json"));

let state = BigInt(seed);
const below = (limit) => {
    state = (state * 6364136223846793005n + 1442695040888963407n) % (1n << 64n);
    return Number(state >> 33n) % limit;
};
const pick = (of) => of[below(of.length)];
const oneIn = (chances) => below(chances) === 0;

const at = (record, path) => path.split(".").reduce((value, name) => value?.[name], record);
const has = (path) => things.some((thing) => at(thing, path) !== undefined);

const FIELDS = ["id", "title", "year", "price", "flag", "zip", "author.name", "author.born", "note", "tags", "tags.0", "author", "nothing"];
const OPERATORS = ["", "", "", "_gte", "_lte", "_ne", "_like"];
const LITERALS = ["", "1", "10", "01234", "1234.0", "1e3", "0.5", "true", "false", "null", "x", "Z", "-1", "un", "A.B", "d.*", "sf", "(", " 5 "];

const value = (field) => {
    if (oneIn(3)) return pick(LITERALS);
    const found = at(pick(things), field);
    if (found === undefined || found === null || typeof found === "object") return pick(LITERALS);
    const text = String(found);
    return oneIn(4) ? text.slice(0, 1 + below(3)) : text;
};
const part = () => {
    switch (below(6)) {
        case 0:
            return [["_start", below(70)], ["_end", below(70)]];
        case 1:
            return [["_start", below(70)], ["_limit", below(20)]];
        case 2:
            return [["_limit", below(70)]];
        case 3:
            return [["_page", 1 + below(8)], ["_limit", 1 + below(20)]];
        case 4:
            return [["_page", 1 + below(8)]];
        default:
            return [];
    }
};
const order = () => {
    if (oneIn(2)) return [];
    const keys = [pick(FIELDS), pick(FIELDS)].slice(below(2));
    const sort = [["_sort", keys.join(",")]];
    const directions = keys.map(() => pick(["asc", "desc", "ASC", "DESC"]));
    return oneIn(3) ? sort : [...sort, ["_order", directions.join(",")]];
};
const filters = () => {
    const found = [];
    for (let n = below(3); n > 0; n -= 1) {
        const field = pick(FIELDS);
        const name = field + pick(OPERATORS);
        for (let times = 1 + below(2); times > 0; times -= 1) found.push([name, value(field)]);
    }
    if (oneIn(4)) found.push(["q", value(pick(["title", "author.name", "year", "tags.0"]))]);
    if (oneIn(10)) found.push(["_", "1732540000000"]);
    return found;
};

const operator = /(_gte|_lte|_ne|_like)$/;
const asked = (query, test) => query.some(([name, sent]) => !name.startsWith("_") && name !== "q" && test(name.replace(operator, ""), sent, name));
const sorted = (query) => query.filter(([name]) => name === "_sort").flatMap(([, keys]) => keys.split(","));
const isArray = (path) => path === "tags";
const isObject = (path) => path === "author";

// The differences that are meant. The first that applies is counted.
const REASONS = [
    {
        why: "json-server ignores a filter on a member that no record has; here nothing matches it",
        applies: (query) => asked(query, (field, _, name) => !operator.test(name) && !has(field)),
    },
    {
        why: "json-server takes _like for a regular expression; here it is a part of the text",
        applies: (query) => asked(query, (_, sent, name) => name.endsWith("_like") && /[.*+?^${}()|[\]\\]/.test(sent)),
    },
    {
        why: "json-server compares an array as its items between commas; here each item is compared",
        applies: (query) => asked(query, isArray),
    },
    {
        why: "json-server compares an object as the text [object Object]; here an object matches nothing",
        applies: (query) => asked(query, isObject),
    },
    {
        why: "json-server never matches null; here the word null does",
        applies: (query) => asked(query, (_, sent, name) => sent === "null" && !operator.test(name)),
    },
    {
        why: "json-server sorts arrays and objects as texts; here they have no order, and come after all values",
        applies: (query) => sorted(query).some((key) => isArray(key) || isObject(key)),
    },
    {
        why: "json-server's order of numbers among texts depends on their neighbours; here numbers come first",
        applies: (query) => sorted(query).includes("zip"),
    },
    {
        why: "json-server ignores _start without _end or _limit; here the list begins there",
        applies: (query) => query.some(([name]) => name === "_start") && !query.some(([name]) => name === "_end" || name === "_limit"),
    },
    {
        why: "json-server gives an empty list if _end is less than _start; here it is a 400",
        applies: (query) => Number(Object.fromEntries(query)._end) < Number(Object.fromEntries(query)._start),
    },
];

const relations = (header) => new Set([...(header ?? "").matchAll(/rel="(\w+)"/g)].map(([, relation]) => relation));
const ask = async (server, query) => {
    const answer = await fetch(`${server}/things?${new URLSearchParams(query)}`);
    const text = await answer.text();
    const records = answer.ok ? JSON.parse(text) : text;
    return { status: answer.status, records, total: answer.headers.get("x-total-count"), link: answer.headers.get("link") };
};
const difference = (ours, theirs, query) => {
    if (ours.status !== theirs.status) return `status ${ours.status}, not ${theirs.status}: ${String(ours.records).slice(0, 200)}`;
    if (!isDeepStrictEqual(ours.records, theirs.records)) {
        const ids = (records) => records.map((record) => record.id).join(" ");
        return `records ${ids(ours.records)}\n      not ${ids(theirs.records)}`;
    }
    if (theirs.total !== null && ours.total !== theirs.total) return `total ${ours.total}, not ${theirs.total}`;
    // json-server links to no other page if one has all records, and never links from other parts.
    if (theirs.link && query.some(([name]) => name === "_page")) {
        const [own, other] = [relations(ours.link), relations(theirs.link)];
        if (!isDeepStrictEqual(own, other)) return `links ${[...own]}, not ${[...other]}`;
    }
    return null;
};

for (const thing of things) {
    const made = await fetch(`${site}/things`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(thing) });
    if (made.status !== 201) throw new Error(`POST ${JSON.stringify(thing)}: ${made.status} ${await made.text()}`);
}
let equal = 0;
const counts = new Map();
const unknown = [];
for (let n = 0; n < Number(count); n += 1) {
    const query = [...filters(), ...order(), ...part()].map(([name, sent]) => [name, String(sent)]);
    const found = difference(await ask(site, query), await ask(reference, query), query);
    if (found === null) {
        equal += 1;
        continue;
    }
    const reason = REASONS.find((one) => one.applies(query));
    if (reason) counts.set(reason.why, (counts.get(reason.why) ?? 0) + 1);
    else unknown.push(`${decodeURIComponent(new URLSearchParams(query))}\n      ${found}`);
}
console.log(`${equal} of ${count} queries are answered alike`);
for (const [why, times] of counts) console.log(`${String(times).padStart(4)} differ: ${why}`);
for (const one of unknown) console.log(`     no reason: ${one}`);
process.exit(unknown.length ? 1 : 0);
