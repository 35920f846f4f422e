//! The cost of requests for records while their number grows, beside json-server and `PocketBase`.
//!
//! Run it with `tests/ops/records.sh`, which installs both, or with `cargo bench --bench records`; a server of which it gets no
//! path is left out. The environment may say:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `BENCH_SIZES` | the numbers of records (1000,10000,100000,1000000) |
//! | `BENCH_SECONDS`, `BENCH_ROUNDS` | the time of one measurement (1), and how often it is made (3) |
//! | `BENCH_JSON_SERVER`, `BENCH_JSON_SERVER_RECORDS` | the path of json-server's `bin.js`, and its number of records (10000) |
//! | `BENCH_POCKETBASE`, `BENCH_POCKETBASE_RECORDS` | the path of `pocketbase`, and its number of records (200000) |
//! | `BENCH_KEPT_LISTS` | `limits.kept_lists` (as shipped): with `0 B` each list is read, and not only when it is asked for first |
//! | `PERENNIAL_BINARY` | another daemon than the one that was built |
//!
//! A figure is microseconds of CPU time of the server's process for each request, from /proc, and in parentheses the median
//! time until its answer; all are medians of rounds, in which the servers take turns. Other load on the machine changes the
//! times, and the CPU times little, so that their ratios can be compared. The servers run as they are shipped, but for one
//! handler of perennial, and have one core; the clients have the other.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints its results, and ends with a message when it can't run"
)]

mod columns;
#[expect(dead_code, reason = "rates are told by other benchmarks")]
#[path = "../load.rs"]
mod load;
mod queries;
#[expect(dead_code, reason = "a column has its own name")]
#[path = "../server.rs"]
mod server;

use std::fmt::Write as _;

use columns::Column;
use load::{Until, count, load, median};
use queries::{Kind, QUERIES, Query};

/// Open connections at a time.
const CONNECTIONS: usize = 16;
/// How often a record is inserted in one round; json-server writes its whole file each time.
const INSERTS: usize = 2000;
const INSERTS_OF_JSON_SERVER: usize = 32;
/// The highest growth of the cost of a request from the fewest records to the most.
const GROWTH_AIM: f64 = 2.0;
/// A list of 20 may cost so many times a single record.
const LIST_AIM: f64 = 3.0;

fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let columns = columns::start(folder.path());
    println!(
        "\nCPU time of a request in us (and the median time of its answer in us), {CONNECTIONS} connections"
    );
    print!("{:24}", "");
    for column in &columns {
        print!("{:>20}", column.name);
    }
    println!();
    let mut single = Vec::new();
    for query in QUERIES {
        let costs = row(&columns, query);
        if query == Query::Get {
            single = costs;
        } else if query == Query::List {
            list_of_single(&columns, &costs, &single);
        }
    }
}

/// Measures a query on every server, and prints one line. Returns the CPU times.
fn row(columns: &[Column], query: Query) -> Vec<Option<f64>> {
    let mut all: Vec<Vec<(f64, f64)>> = vec![Vec::new(); columns.len()];
    for _ in 0..columns::number("BENCH_ROUNDS", 3) {
        for (column, figures) in columns.iter().zip(&mut all) {
            figures.extend(measure(column, query));
        }
    }
    print!("{:24}", query.name());
    let mut costs = Vec::new();
    for figures in &all {
        let (cpu, times) = figures.iter().copied().unzip();
        let (cpu, time) = (median(cpu), median(times));
        let text = if figures.is_empty() {
            "-".to_owned()
        } else {
            format!("{cpu:.1} ({time:.0})")
        };
        print!("{text:>20}");
        costs.push((!figures.is_empty()).then_some(cpu));
    }
    println!("{}", verdicts(columns, query, &costs));
    costs
}

/// The CPU time of a request and the median time of its answer; `None` if the server has no such query.
fn measure(column: &Column, query: Query) -> Option<(f64, f64)> {
    let requests = query.requests(column)?;
    let store = column.store(query)?;
    let clients = if query == Query::Unindexed {
        1
    } else {
        CONNECTIONS
    };
    let until = match (query, column.kind) {
        (Query::Insert(_), Kind::JsonServer) => Until::Counted(INSERTS_OF_JSON_SERVER),
        (Query::Insert(_), Kind::Perennial | Kind::PocketBase) => Until::Counted(INSERTS),
        _ => Until::Passed(columns::slice()),
    };
    let before = store.cpu_seconds();
    let took = load(
        ([127, 0, 0, 1], store.port).into(),
        requests,
        clients,
        &until,
    );
    let used = store.cpu_seconds() - before;
    Some((used * 1e6 / count(took.micros.len()), took.p50()))
}

/// The ratios of a line, each with its aim.
fn verdicts(columns: &[Column], query: Query, costs: &[Option<f64>]) -> String {
    let with_costs = || columns.iter().zip(costs);
    let own = || {
        let own = with_costs().filter(|(column, _)| column.kind == Kind::Perennial);
        own.filter_map(|(column, cost)| Some((column, (*cost)?)))
    };
    let mut text = String::new();
    let mut sizes = own().filter(|(column, _)| column.is_size);
    if let (Some((_, fewest)), Some((_, most))) = (sizes.next(), sizes.next_back()) {
        let growth = most / fewest;
        write!(text, "  growth {growth:.2}").unwrap();
        if query != Query::Unindexed {
            text += verdict(growth <= GROWTH_AIM);
        }
    }
    let peers = with_costs().filter(|(column, _)| column.kind != Kind::Perennial);
    for (peer, cost) in peers {
        let same = own().find(|(column, _)| column.records == peer.records);
        if let (Some(cost), Some((_, own)), Some(aim)) = (cost, same, peer.kind.aim()) {
            let times = cost / own;
            write!(text, "  {} {times:.1} x", peer.name).unwrap();
            text += verdict(times >= aim);
        }
    }
    text
}

/// Prints how much more a list of 20 costs than a single record.
fn list_of_single(columns: &[Column], lists: &[Option<f64>], singles: &[Option<f64>]) {
    let all = columns.iter().zip(lists.iter().zip(singles));
    for (column, costs) in all.filter(|(column, _)| column.kind == Kind::Perennial) {
        if let (Some(list), Some(single)) = costs {
            let times = list / single;
            let verdict = verdict(times <= LIST_AIM);
            println!(
                "  {}: a list of 20 costs {times:.2} x a single record{verdict}",
                column.name
            );
        }
    }
}

fn verdict(met: bool) -> &'static str {
    if met { " met" } else { " MISSED" }
}
