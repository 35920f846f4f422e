//! The CPU time of a request: perennial compared with nginx and a plain actix-web server, in one run.
//!
//! Run it with `cargo bench --bench edge`; it needs wrk and nginx (Debian packages). Every server has one thread for requests.
//! The figures are microseconds of CPU time of the server's processes for each request, from /proc, so that other load on the
//! machine matters little. They are medians of `BENCH_ROUNDS` (3) rounds of `BENCH_SECONDS` (1) each, servers by turns.
//! `cargo bench --bench edge -- --profile` tells where the time goes instead, and `-- --rules` measures the rules of routes alone.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark prints its results, and ends with a message when it can't run"
)]

mod idle;
#[path = "../profile.rs"]
mod profile;
mod rules;
#[path = "../server.rs"]
mod server;
mod servers;

use std::path::Path;
use std::process::Command;

use profile::{Column, Parts};
use server::Server;

/// Open connections at a time.
const CONNECTIONS: u32 = 32;

/// A path, and the highest allowed ratio to nginx: on kept connections without and with access logs, and on new connections.
struct Page {
    name: &'static str,
    path: String,
    aim: Option<f64>,
    aim_logged: Option<f64>,
    aim_new: Option<f64>,
    /// The highest allowed ratio to the constant answer of plain actix-web, on kept connections.
    aim_hello: Option<f64>,
}

/// The figures of one server in one round.
#[derive(Debug, Clone, Copy)]
struct Figures {
    cpu_us: f64,
    per_second: f64,
}

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args()
        .filter(|argument| argument != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [_, "--hello", port, site] => return servers::hello(port, site),
        [_, "--idle", pid, port, count] => return idle::hold(pid, port, count),
        _ => {}
    }
    let folder = tempfile::tempdir().unwrap();
    if let [_, "--rules"] = words.as_slice() {
        servers::write_site(folder.path());
        return rules::measure(folder.path());
    }
    let (servers, record) = servers::start(folder.path());
    let mut pages = pages(&record);
    if let [_, "--profile", wanted @ ..] = words.as_slice() {
        pages.retain(|page| wanted.is_empty() || wanted.contains(&page.name));
        return profiles(&servers, &pages, folder.path());
    }
    println!(
        "CPU time of the server for each request in us (and requests/s), {CONNECTIONS} connections, one thread each"
    );
    print!("{:22}", "");
    for server in &servers {
        print!("{:>18}", server.name);
    }
    println!("{:>9}{:>9}", "x nginx", "logged");
    for page in &pages {
        row(&servers, page, false);
        row(&servers, page, true);
    }
    drop(servers);
    idle::measure(folder.path());
    rules::measure(folder.path());
}

/// The pages that are measured.
fn pages(record: &str) -> Vec<Page> {
    let page = |name, path: &str, aim, aim_new| Page {
        name,
        path: path.to_owned(),
        aim: Some(aim),
        aim_logged: None,
        aim_new: Some(aim_new),
        aim_hello: None,
    };
    vec![
        Page {
            aim_logged: Some(0.72),
            ..page("1 KB", "/1k.html", 0.70, 1.0)
        },
        page("100 KB", "/100k.html", 0.85, 1.0),
        page("3.6 MB", "/3m.html", 1.0, 1.0),
        Page {
            aim_hello: Some(1.0),
            ..page("a record", record, 0.75, 1.1)
        },
    ]
}

/// Prints tables of where the time of each page goes, and of the commit that was measured.
fn profiles(servers: &[Server], pages: &[Page], folder: &Path) {
    let mut git = Command::new("git");
    let commit = stdout_of(git.args(["describe", "--always", "--dirty"]));
    println!("Commit {commit}.");
    for (new, title) in [
        (false, "A kept connection"),
        (true, "A new connection for each request"),
    ] {
        profile::print(title, &columns(servers, pages, folder, new));
    }
}

/// For each page the columns of perennial and of nginx beside it: with both logs too if there is an aim for that. A record is also
/// beside the constant answer of actix-web.
fn columns(servers: &[Server], pages: &[Page], folder: &Path, new: bool) -> Vec<Column> {
    let mut columns = Vec::new();
    for page in pages {
        let aim = if new { page.aim_new } else { page.aim };
        let mut pairs = vec![(0, 2, aim)];
        if page.aim_logged.is_some() && !new {
            pairs.push((1, 3, page.aim_logged));
        }
        if page.aim_hello.is_some() && !new {
            pairs.push((0, 4, page.aim_hello));
        }
        for (ours, theirs, aim) in pairs {
            let (Some(ours), Some(theirs)) = (servers.get(ours), servers.get(theirs)) else {
                continue;
            };
            let [mine, others] = profile_pair([ours, theirs], page, folder, new);
            let beside = columns.len() + 1;
            columns.push(Column {
                name: format!("{}, {}", page.name, ours.name),
                parts: mine,
                aim: aim.map(|aim| (beside, aim)),
            });
            columns.push(Column {
                name: theirs.name.to_owned(),
                parts: others,
                aim: None,
            });
        }
    }
    columns
}

/// Where the time of a page goes on two servers, by turns: the means of some rounds.
fn profile_pair(pair: [&Server; 2], page: &Page, folder: &Path, new: bool) -> [Parts; 2] {
    let rounds = number("BENCH_ROUNDS", 3);
    let mut means = [Parts::new(), Parts::new()];
    for _ in 0..rounds {
        for (server, mean) in pair.iter().zip(&mut means) {
            let load = || measure(server, &page.path, new).cpu_us;
            for (part, us) in profile::parts(server.pid(), folder, load) {
                *mean.entry(part).or_default() += us / f64::from(rounds);
            }
        }
    }
    means
}

/// Measures one page on every server, and prints one line with the ratios.
fn row(servers: &[Server], page: &Page, new: bool) {
    let rounds = number("BENCH_ROUNDS", 3);
    let mut all: Vec<Vec<Figures>> = vec![Vec::new(); servers.len()];
    for _ in 0..rounds {
        for (server, figures) in servers.iter().zip(&mut all) {
            figures.push(measure(server, &page.path, new));
        }
    }
    let medians: Vec<Figures> = all.iter().map(|figures| median(figures)).collect();
    let connection = if new { "new" } else { "kept" };
    print!("{:12}{connection:10}", page.name);
    for figures in &medians {
        let text = format!("{:.1} ({:.0})", figures.cpu_us, figures.per_second);
        print!("{text:>18}");
    }
    let times =
        |ours: usize, theirs: usize| Some(medians.get(ours)?.cpu_us / medians.get(theirs)?.cpu_us);
    let (aim, aim_logged, aim_hello) = if new {
        (page.aim_new, None, None)
    } else {
        (page.aim, page.aim_logged, page.aim_hello)
    };
    print!("{}{}", ratio(times(0, 2)), ratio(times(1, 3)));
    for (what, times, aim) in [
        ("", times(0, 2), aim),
        (" logged", times(1, 3), aim_logged),
        (" beside actix-web", times(0, 4), aim_hello),
    ] {
        if let (Some(times), Some(aim)) = (times, aim) {
            let verdict = if times <= aim { "met" } else { "MISSED" };
            print!("  aim{what} {aim:.2}: {verdict}");
        }
    }
    println!();
}

fn ratio(times: Option<f64>) -> String {
    times.map_or_else(|| format!("{:>9}", "-"), |times| format!("{times:9.2}"))
}

fn median(figures: &[Figures]) -> Figures {
    let middle = |of: fn(&Figures) -> f64| {
        let mut all: Vec<f64> = figures.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Figures {
        cpu_us: middle(|figures| figures.cpu_us),
        per_second: middle(|figures| figures.per_second),
    }
}

/// Runs wrk against one server, and reads the CPU time that the server used.
fn measure(server: &Server, path: &str, new: bool) -> Figures {
    measure_as(server, path, new, "")
}

/// The same with the credentials of a client, if they are not empty.
fn measure_as(server: &Server, path: &str, new: bool, credentials: &str) -> Figures {
    let url = format!("http://127.0.0.1:{}{path}", server.port);
    let seconds = format!("-d{}s", number("BENCH_SECONDS", 1));
    let connections = format!("-c{CONNECTIONS}");
    let mut wrk = server::pinned(1, "wrk");
    wrk.args(["-t1", &connections, &seconds]);
    if new {
        wrk.args(["-H", "Connection: close"]);
    }
    if !credentials.is_empty() {
        wrk.args(["-H", &format!("Authorization: {credentials}")]);
    }
    let before = server.cpu_seconds();
    let output = wrk.arg(&url).output().expect("wrk runs");
    let used = server.cpu_seconds() - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{}: {text}", server.name);
    let value = |after: &str, text: &str| -> f64 {
        let (_, rest) = text.split_once(after).unwrap_or(("", text));
        let number = rest.split_whitespace().next().and_then(|n| n.parse().ok());
        number.unwrap_or_else(|| panic!("{}: {text}", server.name))
    };
    let counted = text.lines().find(|line| line.contains(" requests in "));
    Figures {
        cpu_us: used * 1e6 / value("", counted.unwrap_or_default()),
        per_second: value("Requests/sec:", &text),
    }
}

/// A number from an environment variable.
fn number(variable: &str, default: u32) -> u32 {
    let given = std::env::var(variable).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs a command and returns its stdout.
fn stdout_of(command: &mut Command) -> String {
    let output = command.output().expect("a command runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
