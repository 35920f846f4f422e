// Prints a db.json with records of many forms: values of different types, missing and null ones, and texts that look like numbers.
const words = ["Dune", "dune messiah", "The Left Hand of Darkness", "1984", "A.B", "Ünder", "über", "", "10", "9", "Le Guin & co"];
const authors = ["Herbert", "Le Guin", "Orwell", "Joyce"];
const tags = [["sf"], ["sf", "classic"], [], ["a", "b", "c"], ["1984"]];
const zips = ["01234", "1234", 1234, "5", 5.5, "x"];

const pick = (of, n) => of[n % of.length];
const things = [];
for (let id = 1; id <= 60; id += 1) {
    const thing = { id, title: pick(words, id * 7), year: 1900 + ((id * 37) % 90), flag: id % 3 === 0, zip: pick(zips, id * 5) };
    if (id % 4) thing.price = ((id * 13) % 40) / 4;
    if (id % 5) thing.author = { name: pick(authors, id * 3), born: 1900 + (id % 7) };
    if (id % 2) thing.tags = pick(tags, id);
    if (id % 6 < 2) thing.note = id % 6 ? null : "note " + id;
    things.push(thing);
}
console.log(JSON.stringify({ things, posts: [] }, null, 1));
