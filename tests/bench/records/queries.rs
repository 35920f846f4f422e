//! The queries, as each server knows them.

use std::fmt::Write as _;

use super::columns::Column;
use super::load::request;

/// What a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Perennial,
    JsonServer,
    PocketBase,
}

impl Kind {
    /// How many times the CPU time of perennial it uses at least, if perennial is as cheap as it is to be.
    pub(crate) fn aim(self) -> Option<f64> {
        match self {
            Self::Perennial => None,
            Self::JsonServer => Some(70.0),
            Self::PocketBase => Some(10.0),
        }
    }
}

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Query {
    Get,
    List,
    ByField,
    RangeAndOrder,
    DeepOffset,
    DeepCursor,
    Unindexed,
    /// With so many indexes.
    Insert(usize),
}

/// All of them. The inserts come last: until then each server has its number of records.
pub(crate) const QUERIES: [Query; 10] = [
    Query::Get,
    Query::List,
    Query::ByField,
    Query::RangeAndOrder,
    Query::DeepOffset,
    Query::DeepCursor,
    Query::Unindexed,
    Query::Insert(0),
    Query::Insert(2),
    Query::Insert(5),
];
/// The number of different requests that are sent in turn.
const VARIANTS: u64 = 64;
/// The records of a page.
const PAGE: u64 = 20;
/// The number of values of the field `genre`, and of `year`, which begin with this one.
pub(crate) const GENRES: u64 = 20;
pub(crate) const YEARS: u64 = 120;
pub(crate) const FIRST_YEAR: u64 = 1900;
/// The years of a range.
const RANGE_YEARS: u64 = 12;
/// Makes a record 300 bytes.
const FILLING_BYTES: usize = 158;

/// The id of a record. `PocketBase` wants 15 characters.
pub(crate) fn id(number: u64) -> String {
    format!("book{number:011}")
}

/// The collection of `PocketBase` with so many indexes.
pub(crate) fn collection(indexes: usize) -> String {
    match indexes {
        2 => "books".to_owned(),
        _ => format!("with{indexes}"),
    }
}

/// A record, or with `None` one without an id.
pub(crate) fn record(id: Option<&str>, number: u64) -> String {
    let mut text = String::from("{");
    if let Some(id) = id {
        write!(text, "\"id\":\"{id}\",").unwrap();
    }
    let (genre, year) = (number % GENRES, FIRST_YEAR + number * 7 % YEARS);
    let (author, pages, price) = (number % 500, number * 13 % 900, number * 3 % 100);
    let filling = "x".repeat(FILLING_BYTES);
    write!(
        text,
        "\"title\":\"The book {number:011}\",\"author\":\"Author {author:04}\",\"genre\":\"genre-{genre:02}\",\
         \"year\":{year},\"pages\":{pages:03},\"price\":{price:02},\"text\":\"{filling}\"}}",
        pages = pages + 100,
        price = price + 10,
    )
    .unwrap();
    text
}

impl Query {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Get => "get by id".to_owned(),
            Self::List => "list of 20 by id".to_owned(),
            Self::ByField => "by an indexed field".to_owned(),
            Self::RangeAndOrder => "range and order".to_owned(),
            Self::DeepOffset => "deep page by offset".to_owned(),
            Self::DeepCursor => "deep page by cursor".to_owned(),
            Self::Unindexed => "by an unindexed field".to_owned(),
            Self::Insert(indexes) => format!("insert, {indexes} indexes"),
        }
    }

    /// The requests that are sent in turn; `None` if the server has nothing like it.
    pub(crate) fn requests(self, column: &Column) -> Option<Vec<String>> {
        if self == Self::DeepCursor && column.kind == Kind::JsonServer {
            return None;
        }
        let requests = (0..VARIANTS).map(|variant| self.request(column, variant));
        Some(requests.collect())
    }

    fn request(self, column: &Column, variant: u64) -> String {
        let is_pocketbase = column.kind == Kind::PocketBase;
        let records = match (is_pocketbase, self) {
            (true, Self::Insert(indexes)) => {
                format!("/api/collections/{}/records", collection(indexes))
            }
            (true, _) => "/api/collections/books/records".to_owned(),
            (false, _) => "/books".to_owned(),
        };
        if let Self::Insert(_) = self {
            return request(&format!("POST {records}"), &record(None, variant));
        }
        let rest = match column.kind {
            Kind::PocketBase => self.of_pocketbase(column.records, variant),
            Kind::Perennial | Kind::JsonServer => self.of_json_server(column, variant),
        };
        request(&format!("GET {records}{rest}"), "")
    }

    /// The end of the path in the dialect of json-server.
    fn of_json_server(self, column: &Column, variant: u64) -> String {
        let records = column.records;
        let (from, to) = years(variant);
        match self {
            Self::Get => format!("/{}", id(scattered(variant, records))),
            Self::List => format!("?_page={}&_limit={PAGE}", 1 + variant % 10),
            Self::ByField => format!("?genre=genre-{:02}&_page=1&_limit={PAGE}", variant % GENRES),
            Self::RangeAndOrder => {
                format!("?year_gte={from}&year_lte={to}&_sort=year&_page=1&_limit={PAGE}")
            }
            Self::DeepOffset => format!("?_page={}&_limit={PAGE}", deep_page(records, variant)),
            Self::DeepCursor => format!("?_limit={PAGE}&_after={}", column.position),
            Self::Unindexed => format!("?pages={}&_page=1&_limit={PAGE}", 100 + variant),
            Self::Insert(_) => String::new(),
        }
    }

    /// The end of the path in `PocketBase`'s dialect.
    fn of_pocketbase(self, records: u64, variant: u64) -> String {
        let (from, to) = years(variant);
        match self {
            Self::Get => format!("/{}", id(scattered(variant, records))),
            Self::List => format!("?sort=id&perPage={PAGE}&page={}", 1 + variant % 10),
            Self::ByField => {
                format!(
                    "?filter=(genre='genre-{:02}')&perPage={PAGE}",
                    variant % GENRES
                )
            }
            Self::RangeAndOrder => {
                format!("?filter=(year>={from}%26%26year<={to})&sort=year&perPage={PAGE}")
            }
            Self::DeepOffset => format!(
                "?sort=id&perPage={PAGE}&page={}",
                deep_page(records, variant)
            ),
            Self::DeepCursor => format!(
                "?filter=(id>'{}')&sort=id&perPage={PAGE}&skipTotal=1",
                id(records * 9 / 10)
            ),
            Self::Unindexed => format!("?filter=(pages={})&perPage={PAGE}", 100 + variant),
            Self::Insert(_) => String::new(),
        }
    }
}

/// A number from 1 to `records`, far from those of the variants beside it.
fn scattered(variant: u64, records: u64) -> u64 {
    1 + variant * records / VARIANTS
}

fn years(variant: u64) -> (u64, u64) {
    let from = FIRST_YEAR + variant % (YEARS - RANGE_YEARS);
    (from, from + RANGE_YEARS - 1)
}

/// A page behind nine tenths of the records, which is there.
fn deep_page(records: u64, variant: u64) -> u64 {
    records * 9 / 10 / PAGE + variant % (records / 20 / PAGE).clamp(1, VARIANTS)
}
