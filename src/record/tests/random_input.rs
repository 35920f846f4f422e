//! Random queries and bodies: valid ones, half of them with a few bytes changed.

use serde_json::{Map, Number, Value};

const NAMES: [&str; 48] = [
    "title",
    "year",
    "price",
    "on_sale",
    "released",
    "tags",
    "tags.0",
    "artist",
    "artist.name",
    "artist.born",
    "id",
    "id[]",
    "year[0]",
    "_start",
    "_end",
    "_limit",
    "_page",
    "_per_page",
    "_sort",
    "_order",
    "_fields",
    "_after",
    "_count",
    "_embed",
    "_meta",
    "_",
    "q",
    "sort",
    "range",
    "filter",
    "year_gte",
    "year_lt",
    "price_lte",
    "title_gt",
    "title_like",
    "tags_like",
    "id_ne",
    "id:in",
    "year:in",
    "title:contains",
    "title:startsWith",
    "title:endsWith",
    "year:isnull",
    "released:gte",
    "artist.name:ne",
    "titel",
    "_x",
    "",
];
const WORDS: [&str; 38] = [
    "",
    "0",
    "1",
    "2",
    "10",
    "-1",
    "1.5",
    "1e3",
    "007",
    "9007199254740993",
    "99999999999999999999",
    "true",
    "false",
    "null",
    "exact",
    "Dune",
    "un",
    "Le+Guin",
    "%C3%A4",
    "%00",
    "a%26b",
    "(.*",
    "asc",
    "desc",
    "asc,DESC",
    "title,-year",
    "artist.name,id",
    "1,2,,3",
    "2026-11-24T16:00:00Z",
    "2026-11-24T16:00:00%2B01:00",
    "[0,24]",
    "[\"year\",\"DESC\"]",
    "[[\"title\",\"ASC\"],[\"id\",\"DESC\"]]",
    "{\"id\":[1,\"2\"],\"q\":\"un\"}",
    "{\"or\":[{\"year_gte\":2},{\"and\":[{\"title\":null},{\"tags_ne\":[]}]}]}",
    "{\"artist\":{\"born\":1e3}}",
    "{\"or\":[{}]}",
    "{\"id\":[]}",
];
const KEYS: [&str; 12] = [
    "id", "title", "barcode", "year", "price", "on_sale", "released", "tags", "artist", "name",
    "born", "a/b~c",
];
const TEXTS: [&str; 10] = [
    "",
    "x",
    "123",
    "Dune",
    "\u{e4}\u{1f600}",
    "\"\\\u{8}\n",
    "2026-11-24T16:00:00Z",
    "_x",
    "a/b",
    "0123456789012345678901",
];
const NUMBERS: [f64; 8] = [
    0.0,
    -0.0,
    0.1,
    1.5,
    1e300,
    -2.5e-7,
    4.35,
    9_007_199_254_740_993.0,
];

/// A random generator; the same seed gives the same inputs.
#[derive(Debug)]
pub(crate) struct RandomInput(u64);

impl RandomInput {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number of `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap();
        usize::try_from(self.next() % limit).unwrap()
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// A random query.
    pub(crate) fn query(&mut self) -> String {
        let mut query = String::new();
        for _ in 0..self.below(6) {
            let (name, value) = (self.pick(&NAMES), self.pick(&WORDS));
            query.extend([name, "=", value, "&"]);
        }
        query.pop();
        if self.one_in(2) {
            return query;
        }
        let changed = self.corrupt(query.into_bytes());
        String::from_utf8_lossy(&changed).into_owned()
    }

    /// A random JSON object.
    pub(crate) fn object(&mut self) -> Map<String, Value> {
        (0..self.below(7)).map(|_| self.member(0)).collect()
    }

    fn member(&mut self, depth: usize) -> (String, Value) {
        (self.pick(&KEYS).to_owned(), self.value(depth + 1))
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth < 4 { 8 } else { 6 }) {
            0 => Value::Null,
            1 => Value::Bool(self.one_in(2)),
            2 => Value::from(self.below(4000)),
            3 => Value::from(i64::from_be_bytes(self.next().to_be_bytes())),
            4 => self.number(),
            5 => Value::from(self.pick(&TEXTS)),
            6 => (0..self.below(4)).map(|_| self.value(depth + 1)).collect(),
            _ => Value::Object((0..self.below(4)).map(|_| self.member(depth)).collect()),
        }
    }

    fn number(&mut self) -> Value {
        let number = if self.one_in(2) {
            self.pick(&NUMBERS)
        } else {
            f64::from_bits(self.next())
        };
        Number::from_f64(number).map_or(Value::Null, Value::Number)
    }

    /// A JSON object as bytes, half of the time with a few bytes changed.
    pub(crate) fn body(&mut self) -> Vec<u8> {
        let body = Value::Object(self.object()).to_string().into_bytes();
        if self.one_in(2) {
            body
        } else {
            self.corrupt(body)
        }
    }

    /// Changes, adds, drops and repeats a few bytes.
    fn corrupt(&mut self, mut text: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.below(4) {
            let at = self.below(text.len() + 1);
            let byte = u8::try_from(self.below(256)).unwrap();
            match (self.below(5), text.get_mut(at)) {
                (0, Some(old)) => *old = byte,
                (1, Some(old)) => *old = self.pick(b"\"{}[]:,\\0e-.&=%+ "),
                (2, Some(_)) => drop(text.remove(at)),
                (3, Some(_)) => {
                    let end = at + 1 + self.below(text.len() - at);
                    let again = text[at..end].to_vec();
                    text.splice(at..at, again);
                }
                _ => text.insert(at, byte),
            }
        }
        text
    }
}
