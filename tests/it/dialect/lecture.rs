//! The six calls of the lecture's client, all at once, against the shipped settings. `tests/ops/lecture.sh` runs the client
//! itself.

use std::sync::Barrier;
use std::thread;

use serde_json::json;

use crate::client::{Client, Response};
use crate::daemon::TestDaemon;

/// The headers that `aiohttp` sends with a string body.
const TEXT: [(&str, &str); 2] = [
    ("accept", "*/*"),
    ("content-type", "text/plain; charset=utf-8"),
];

#[test]
fn six_calls_at_once_are_answered_in_json() {
    let mut daemon = TestDaemon::prepare_shipped();
    daemon.restart();
    let book = |title: &str, author: &str| json!({"title": title, "author": author}).to_string();
    let movie = json!({"title": "Stalker", "director": "Andrei Tarkovsky"}).to_string();
    let calls = [
        ("GET", "/books", String::new()),
        (
            "POST",
            "/books",
            book("The Dispossessed", "Ursula K. Le Guin"),
        ),
        (
            "POST",
            "/books",
            book("Nineteen Eighty-Four", "George Orwell"),
        ),
        ("POST", "/movies", movie),
        (
            "DELETE",
            "/books",
            json!({"title": "Nineteen Eighty-Four"}).to_string(),
        ),
        ("DELETE", "/movies", json!({"title": "Stalker"}).to_string()),
    ];
    let together = Barrier::new(calls.len());
    let host = daemon.public();
    let call = |(method, path, body): &(&str, &str, String)| -> Response {
        let mut client = Client::connect(host).unwrap();
        together.wait();
        let (head, body) = match body.as_str() {
            "" => (&TEXT[..1], None),
            text => (&TEXT[..], Some(text.as_bytes())),
        };
        client.send(method, path, head, body).unwrap()
    };
    let answers: Vec<_> = thread::scope(|scope| {
        let calls = calls.each_ref().map(|one| scope.spawn(|| call(one)));
        calls.map(|call| call.join().unwrap()).into()
    });
    for ((method, path, _), answer) in calls.iter().zip(&answers) {
        assert!(
            (200..300).contains(&answer.status),
            "{method} {path}: {answer:?}"
        );
        assert_eq!(answer.header("content-type"), Some("application/json"));
        answer.json();
    }
    let list = daemon.get("/books").expect(200).json();
    let first = |record: &serde_json::Value| record["title"] == "The Dispossessed";
    assert!(list.as_array().unwrap().iter().any(first), "{list}");
    let deleted = answers[4].json().as_array().unwrap().len();
    assert_eq!(list.as_array().unwrap().len(), 2 - deleted);
}
